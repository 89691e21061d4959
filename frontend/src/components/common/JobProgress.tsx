import { formatDuration } from "../../lib/bytes";
import { ProgressBar } from "./Bar";
import classes from "./JobProgress.module.css";

interface Props {
  /** What the work is done on. */
  name: string;
  /** What is being done. */
  phase: string;
  /** From 0 to 1; null where it cannot be told, and there is no bar. */
  share: number | null;
  /** The share is not known yet: the bar stands without a value. */
  unknown?: boolean;
  /** Bytes or tokens, rate and time left, as far as they are known. */
  figures: string[];
  /** Seconds since it was asked for, where it goes on. */
  elapsed?: number | null;
  tone: "active" | "still" | "retrying";
}

/** Work under way: its phase in words, a bar, and figures. */
export function JobProgress({ name, phase, share, unknown = false, figures, elapsed = null, tone }: Props) {
  return (
    <div className={classes.progress}>
      <div className={classes.words}>
        <span className={classes.phase} data-tone={tone}>
          {phase}
        </span>
        {elapsed !== null && (
          <span className={`${classes.elapsed} num`} title="Time since it was asked for">
            {formatDuration(elapsed)}
          </span>
        )}
        {share !== null && !unknown && <span className="num">{Math.floor(share * 100)} %</span>}
      </div>
      {share !== null && (
        <ProgressBar
          label={`${name}: ${phase}`}
          share={share}
          valueText={[phase, ...figures].join(", ")}
          unknown={unknown}
          tone={tone}
        />
      )}
      {figures.length > 0 && <div className="num">{figures.join(" · ")}</div>}
    </div>
  );
}
