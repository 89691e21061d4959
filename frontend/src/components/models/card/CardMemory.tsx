import { VisuallyHidden } from "@mantine/core";
import { TriangleAlert } from "lucide-react";
import { formatDisk, formatBytes } from "../../../lib/bytes";
import { formatGap, takesMore } from "../../../lib/measured";
import { isActive, waitsForDisk } from "../../../lib/labels";
import type { Model } from "../../../types/model";
import { FitLabel } from "../../common/VerdictLabel";
import { MemoryBar } from "../memory/MemoryBar";
import classes from "../ModelCard.module.css";
import type { Props } from "../ModelCard";

export function Memory({ model, scale, devices }: Pick<Props, "model" | "scale" | "devices">) {
  const { memory_measured_bytes: measured, memory_estimated_bytes: estimate } = model;
  const bytes = measured ?? estimate;
  const about = model.memory_method === "approximate" ? "≈ " : "";
  const how = howKnown(model);
  // Whether it fits is no question any more.
  const leaving = model.status === "deleting";
  const gap = formatGap(model, `the ${about}${formatBytes(estimate)} estimated`);
  return (
    <div className={classes.memory}>
      <dl className={`${classes.figures} num`}>
        <div>
          <dt>Memory</dt>
          <dd>
            {measured === null && about}
            {bytes === null ? "unknown" : formatBytes(bytes)}
            {bytes !== null && how !== null && <span className={classes.how}>{how}</span>}
          </dd>
        </div>
        {/* What is there already while it comes or goes, the line below says as it changes. */}
        {!isActive(model.status) && (
          <div>
            <dt>Disk</dt>
            <dd>{formatDisk(model)}</dd>
          </div>
        )}
        {/* What is loaded stands there already. */}
        {/* Room in memory is no good news while the disk has none. */}
        {!model.loaded && !leaving && !waitsForDisk(model) && bytes !== null && devices !== undefined && (
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
      {gap !== null && (
        <p className={`${classes.gap} num`} data-more={takesMore(model) || undefined}>
          {takesMore(model) && <TriangleAlert size={14} aria-hidden />}
          It takes {gap}
        </p>
      )}
      {scale !== undefined && !leaving && (
        <MemoryBar
          quantization={model.quantization}
          parts={bytes === null ? [] : [{ label: "weights", bytes }]}
          place={scale}
          inside={model.loaded}
        />
      )}
    </div>
  );
}

/** How the memory figure came about; of an approximate one its ≈ says it. */
function howKnown({ memory_measured_bytes, memory_method }: Model): string | null {
  if (memory_measured_bytes !== null) return "measured";
  if (memory_method === "approximate") return null;
  return memory_method === "exact" ? "exact" : "estimated";
}
