import { Button } from "@mantine/core";
import { Link } from "react-router";
import { withHubName } from "../../../lib/hubName";
import type { ProblemView } from "../../../lib/problems";
import { useSystemStore } from "../../../stores/systemStore";
import type { Model } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";

interface Props {
  model: Model;
  problem: ProblemView;
  /** What its weights take, where that is known without asking. */
  weights: string | null;
  busy: boolean;
  onVerify: () => void;
  onRetry: () => void;
}

/** Why the memory of a model of the list is not known, and what moves on from there. */
export function MemoryProblem({ model, problem, weights, busy, onVerify, onRetry }: Props) {
  const hub = useSystemStore((state) => state.system?.hub);
  const gone = problem.code === "hub_model_not_found" || problem.code === "revision_not_found";
  return (
    <ProblemAlert
      title={weights === null ? "The memory is not available" : `Weights ${weights}; the rest is unknown`}
      problem={{
        ...problem,
        message: withHubName(problem.message, model.endpoint, hub),
        // Its name and revision were right once, so there is no spelling to check.
        hint: gone ? null : problem.hint,
      }}
      tone={weights === null ? "bad" : "warn"}
    >
      {gone ? (
        <Link to={`/models?view=hub&find=${encodeURIComponent(model.name)}`}>Look for another model</Link>
      ) : (
        <>
          {problem.code === "checksum_mismatch" && (
            <Button size="compact-sm" variant="default" disabled={busy} onClick={onVerify}>
              Verify the files
            </Button>
          )}
          <TryAgain onClick={onRetry} />
        </>
      )}
    </ProblemAlert>
  );
}
