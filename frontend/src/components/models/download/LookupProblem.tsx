import { Button } from "@mantine/core";
import { Link } from "react-router";
import type { ModelReference } from "../../../lib/modelId";
import type { ProblemView } from "../../../lib/problems";
import { useSystemStore } from "../../../stores/systemStore";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";

/** The page's Hub view, looking for the name without its owner. */
function searchAddress(modelId: string): string {
  return `/models?view=hub&find=${encodeURIComponent(modelId.split("/").at(-1) ?? modelId)}`;
}

export function InfoProblem({
  problem,
  target,
  onRetry,
}: {
  problem: ProblemView;
  target: ModelReference | null;
  onRetry: () => void;
}) {
  const builtin = useSystemStore((state) => state.system?.hub.endpoint_source === "builtin");
  const unknown = problem.code === "hub_model_not_found";
  const title = {
    hub_model_not_found: `Model ${target?.model_id ?? ""} not found on this Hub`,
    revision_not_found: `${target?.model_id ?? ""} has no revision ${target?.revision ?? ""}`,
  }[problem.code];
  if (unknown && builtin) {
    const message = "The built-in sample Hub has only its own small models.";
    return (
      <ProblemAlert title={title ?? message} problem={{ ...problem, message, hint: null }}>
        <Button size="compact-sm" component={Link} to="/settings">
          Choose another Hub
        </Button>
        <Button size="compact-sm" variant="default" component={Link} to="/models?view=hub">
          Show its models
        </Button>
      </ProblemAlert>
    );
  }
  // Where the title says what happened, the message would only repeat it.
  const { hint } = problem;
  const rest = title !== undefined && hint !== null ? { ...problem, message: hint, hint: null } : problem;
  return (
    <ProblemAlert title={title ?? "Could not look up this model"} problem={rest}>
      {unknown && target !== null && (
        <Button size="compact-sm" variant="default" component={Link} to={searchAddress(target.model_id)}>
          Search for similar names
        </Button>
      )}
      <TryAgain onClick={onRetry} />
      {["gated_no_token", "token_invalid", "hub_model_not_found", "hub_rate_limited"].includes(problem.code) && (
        <Button size="compact-sm" variant="default" component={Link} to="/settings">
          Set a token
        </Button>
      )}
    </ProblemAlert>
  );
}
