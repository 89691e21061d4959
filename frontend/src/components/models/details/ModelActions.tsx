import { Button, Group, Text } from "@mantine/core";
import { Link } from "react-router";
import { getCompatibility } from "../../../api/trainings";
import { useResource } from "../../../hooks/useResource";
import { useTorchReason } from "../../../hooks/useTorchReason";
import { formatBytes } from "../../../lib/bytes";
import { compareSide } from "../../../lib/compare";
import { isActive, loadState, sentence, waitsForDisk } from "../../../lib/labels";
import { trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model } from "../../../types/model";
import { DeleteButton } from "../../common/DeleteButton";
import { ServerButton } from "../../common/ServerButton";
import { TrainingFact } from "../../common/TrainingFact";
import { WorkAction } from "../status/WorkAction";
import type { Props } from "./ModelDetails";

export interface WorkProps extends Pick<Props, "onAction"> {
  model: Model;
  busy: boolean;
}

/** The next step of a model that is not ready, and the end of its work. */
export function WorkActions({ model, busy, onAction }: WorkProps) {
  const quantizing = model.status === "quantizing";
  return (
    <>
      <WorkAction
        model={model}
        busy={busy}
        onAction={onAction}
        size="xs"
        // All that can be done with a quantization is to give it up; what waits for room needs other steps first.
        variant={quantizing || waitsForDisk(model) ? "default" : "filled"}
      />
      {isActive(model.status) && !quantizing && (
        <ServerButton size="xs" color="red" variant="outline" disabled={busy} onClick={() => onAction(model, "cancel")}>
          Cancel and remove…
        </ServerButton>
      )}
    </>
  );
}

export function Unload({ model, pending, onAction }: { model: Model } & Pick<Props, "pending" | "onAction">) {
  return (
    <ServerButton
      size="xs"
      variant="default"
      disabled={pending !== undefined || model.unloading}
      onClick={() => onAction(model, "unload")}
    >
      {pending?.op === "unload" || model.unloading ? "Unloading" : "Unload"}
    </ServerButton>
  );
}

/** What a worker holds of the model, in whatever dtype it was loaded. */
function holds({ measured_bytes }: Model["used_by"][number], { memory_measured_bytes }: Model): number | null {
  return measured_bytes ?? memory_measured_bytes;
}

/** Where it is loaded and what it takes there; its files may be gone meanwhile. */
export function LoadedLines({ model }: { model: Model }) {
  return (
    <>
      {model.used_by
        .filter((use) => use.kind === "loaded")
        .map((use) => (
          <Text key={use.id + use.name} size="sm" c="var(--y-good)" fw={600} className="num">
            {sentence(use.name)}
            {holds(use, model) !== null && `, ${formatBytes(holds(use, model))} measured`}
          </Text>
        ))}
    </>
  );
}

/** What concerns the entry itself: its labels, and taking its files off the disk. */
export function EntryActions({ model, busy, onAction }: WorkProps) {
  // One whose files are missing has it beside its problem.
  const canDelete = !isActive(model.status) && model.status !== "missing";
  return (
    <Group gap="xs">
      <ServerButton size="xs" variant="default" onClick={() => onAction(model, "labels")}>
        Tags and note…
      </ServerButton>
      {model.status === "ready" && (
        <ServerButton size="xs" variant="default" onClick={() => onAction(model, "export")}>
          Export…
        </ServerButton>
      )}
      {canDelete && model.original_bytes > 0 && model.shared_bytes === 0 && (
        <ServerButton size="xs" variant="default" disabled={busy} onClick={() => onAction(model, "drop-original")}>
          Remove the original files, {formatBytes(model.original_bytes)}…
        </ServerButton>
      )}
      {canDelete && <DeleteButton size="xs" disabled={busy} onClick={() => onAction(model, "delete")} />}
    </Group>
  );
}

interface ReadyProps extends Pick<Props, "live" | "pending" | "onAction"> {
  model: Model;
  /** Left out where it is being tried. */
  onTry: (() => void) | undefined;
}

/** Load or unload, try, quantize, train on, verify. */
export function ReadyActions({ model, live, pending, onAction, onTry }: ReadyProps) {
  const busy = pending !== undefined;
  const torch = useTorchReason();
  const loading = loadState(live?.progress);
  // A text that is asked for loads the model before its progress tells so.
  const asked = usePlaygroundStore((state) => trialOf(state, model.id).running);
  const training = useResource(model.id, (signal) => getCompatibility(model.id, signal)).data;
  // What is damaged is repaired before anything else is done with it.
  const damaged = training?.reasons.some(({ code }) => code === "checksum_mismatch") === true;
  const [forUse, forRepair] = damaged ? (["default", "filled"] as const) : (["filled", "default"] as const);
  return (
    <div>
      <Group gap="xs">
        {loading !== null ? (
          <ServerButton
            size="xs"
            variant="default"
            disabled={busy || loading === "stopping"}
            onClick={() => onAction(model, "cancel")}
          >
            Stop loading
          </ServerButton>
        ) : model.loaded ? (
          <>
            {onTry !== undefined && (
              <Button size="xs" variant={forUse} onClick={onTry}>
                Try it
              </Button>
            )}
            <Unload model={model} pending={pending} onAction={onAction} />
          </>
        ) : (
          <ServerButton
            size="xs"
            // Where a text is to be written, to ask for one is the first thing to do, and loads it too.
            variant={onTry === undefined ? "default" : forUse}
            disabled={busy || asked}
            why={torch}
            onClick={() => onAction(model, "load")}
          >
            {pending?.op === "load" || asked ? "Loading" : "Load"}
          </ServerButton>
        )}
        {model.quantization === "none" && model.adapter === null && (
          <ServerButton
            size="xs"
            variant="default"
            disabled={busy}
            why={torch}
            onClick={() => onAction(model, "quantize-4bit")}
          >
            Quantize…
          </ServerButton>
        )}
        {model.generates_text !== false && <CompareButton model={model} />}
        {(training ?? model.training)?.compatible !== false && (
          <Button size="xs" variant="default" component={Link} to={`/training/new?model=${model.id}`}>
            Train an SAE on this
          </Button>
        )}
        <ServerButton size="xs" variant={forRepair} disabled={busy} onClick={() => onAction(model, "verify")}>
          Verify the files
        </ServerButton>
      </Group>
      {training !== null && <TrainingFact training={training} />}
    </div>
  );
}

function CompareButton({ model }: { model: Model }) {
  const torch = useTorchReason();
  if (torch !== undefined)
    return (
      <Button size="xs" variant="default" disabled title={torch}>
        Compare…
      </Button>
    );
  return (
    <Button size="xs" variant="default" component={Link} to={`/compare?${compareSide(model)}=${model.id}`}>
      Compare…
    </Button>
  );
}
