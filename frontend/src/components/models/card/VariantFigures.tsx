import { VisuallyHidden } from "@mantine/core";
import { useElapsed } from "../../../hooks/useElapsed";
import { useConn } from "../../../hooks/useModels";
import { formatBytes, formatDisk, formatDuration } from "../../../lib/bytes";
import { ownBytes } from "../../../lib/groups";
import { isActive, loadStepLabel, sentence, waitsForDisk } from "../../../lib/labels";
import { readSoFar } from "../../../lib/progress";
import type { Device, Model, Progress } from "../../../types/model";
import { FitLabel } from "../../common/VerdictLabel";
import classes from "./Variant.module.css";

interface Props {
  model: Model;
  /** Where it may fit; not known yet while undefined. */
  devices: Device[] | undefined;
  /** A load under way, which stands in the place of the figures. */
  load: Progress | null;
}

/** What a variant needs, in one line that keeps its height whatever happens to it. */
export function VariantFigures({ model, devices, load }: Props) {
  const { memory_measured_bytes: measured, memory_estimated_bytes: estimate } = model;
  const bytes = measured ?? estimate;
  const about = measured === null && model.memory_method === "approximate" ? "≈ " : "";
  const how = howKnown(model);
  if (load !== null) return <Loading load={load} />;
  // Of one that is loaded or leaves it is no question, and room in memory is no good news while the disk has none.
  const asked = !model.loaded && model.status !== "deleting" && !waitsForDisk(model);
  return (
    <dl className={`${classes.figures} num`}>
      <div>
        <dt>Memory</dt>
        <dd>
          {about}
          {formatBytes(bytes)}
          {bytes !== null && how !== null && <span className={classes.how}>{how}</span>}
        </dd>
      </div>
      {/* What is there already while it comes or goes, the line below says as it changes. */}
      {!isActive(model.status) && (
        <div title={formatDisk(model)}>
          <dt>Disk</dt>
          <dd>{formatBytes(ownBytes(model))}</dd>
        </div>
      )}
      {asked && bytes !== null && devices !== undefined && (
        <div className={classes.fit}>
          <dt>
            <VisuallyHidden>Fit</VisuallyHidden>
          </dt>
          <dd>
            <FitLabel bytes={bytes} devices={devices} />
          </dd>
        </div>
      )}
    </dl>
  );
}

/** What a load does, how far it is, and for how long it has been at it. */
function Loading({ load }: { load: Progress }) {
  const elapsed = useElapsed(useConn() === "stale" ? undefined : load.started_at);
  return (
    <p className={`${classes.figures} num`}>
      <span className="truncate">{load.stopping ? null : sentence(loadStepLabel(load) ?? "starting")}</span>
      <span className={classes.sofar}>
        {[readSoFar(load), elapsed === null ? "" : formatDuration(elapsed)].filter(Boolean).join(" · ")}
      </span>
    </p>
  );
}

/** How the memory figure came about; of an approximate one its ≈ says it. */
function howKnown({ memory_measured_bytes, memory_method }: Model): string | null {
  if (memory_measured_bytes !== null) return "measured";
  if (memory_method === "approximate") return null;
  return memory_method === "exact" ? "exact" : "estimated";
}
