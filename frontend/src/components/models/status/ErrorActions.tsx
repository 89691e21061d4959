import { Button } from "@mantine/core";
import { Link } from "react-router";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { nextSteps } from "../../../lib/problems";
import type { Model } from "../../../types/model";

interface Props {
  model: Model;
  /** Left out where nothing is started. */
  onQuantize?: () => void;
}

/** On the Hub; a model that is not there under its name may be there under another owner's. */
function searchFor({ name, error }: Model): string {
  const find = error?.code === "hub_model_not_found" ? `&find=${encodeURIComponent(name)}` : "";
  return `/models?view=hub${find}`;
}

/** What moves on from what stopped this model; trying the same again is the row's own button. */
export function ErrorActions({ model, onQuantize }: Props) {
  const away = useOfflineReason();
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
      {steps.includes("free-space") && (
        <>
          <Link to="/models?sort=disk">Show the largest models</Link>
          <Link to="/settings#storage">Use another disk</Link>
        </>
      )}
      {steps.includes("another") && <Link to={searchFor(model)}>Look for another model</Link>}
      {steps.includes("smaller") &&
        onQuantize !== undefined &&
        model.status === "ready" &&
        model.quantization === "none" && (
          <Button size="compact-sm" variant="default" disabled={away !== undefined} title={away} onClick={onQuantize}>
            Quantize to 4-bit…
          </Button>
        )}
    </>
  );
}
