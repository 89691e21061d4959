import { CircleAlert } from "lucide-react";
import { Link } from "react-router";
import { formatWhen } from "../../lib/dates";
import { fromRow } from "../../lib/problems";
import { formatTokens, runName, saeFigures } from "../../lib/training";
import type { Training } from "../../types/training";
import { FactLine } from "../common/FactLine";
import classes from "./RunList.module.css";
import { MetricsLine, RunActions, RunTitle, TrainingProgressLine } from "./RunState";

/** Training runs, one below the other. */
export function RunList({ runs }: { runs: Training[] }) {
  return (
    <ul className={classes.runs} aria-label="Training runs">
      {runs.map((training) => (
        <Run key={training.id} training={training} />
      ))}
    </ul>
  );
}

function Run({ training }: { training: Training }) {
  const { status, error } = training;
  return (
    <li className={classes.run} data-status={status}>
      <div>
        <RunTitle training={training}>
          <h2>
            <Link to={`/training/${training.id}`}>{runName(training)}</Link>
          </h2>
        </RunTitle>
        <FactLine
          facts={[
            ...saeFigures(training),
            formatTokens(training.training_tokens),
            `requested ${formatWhen(training.created_at)}`,
          ]}
        />
      </div>
      <div>
        {status !== "completed" && <TrainingProgressLine training={training} />}
        {error !== null && (
          <p className={classes.error}>
            <CircleAlert size={12} aria-hidden />
            <span>{fromRow(error).message}</span>
          </p>
        )}
        <MetricsLine training={training} />
      </div>
      <div className={classes.actions}>
        <RunActions training={training} compact />
      </div>
    </li>
  );
}
