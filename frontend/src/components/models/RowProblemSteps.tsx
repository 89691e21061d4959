import { Link } from "react-router";
import { nextSteps } from "../../lib/problems";
import type { Model } from "../../types/model";

/** Links that move on from what stopped this model; what a button does (retry) is not among them. */
export function RowProblemSteps({ model }: { model: Model }) {
  if (model.error === null) return null;
  const steps = nextSteps(model.error.code);
  return (
    <>
      {steps.includes("settings") && <Link to="/settings">Open settings</Link>}
      {steps.includes("licence") && (
        <a href={`${model.endpoint}/${model.canonical_id}`} target="_blank" rel="noreferrer">
          Open the licence page
        </a>
      )}
      {steps.includes("free-space") && <Link to="/models?sort=disk">Show the largest models</Link>}
    </>
  );
}
