import { useConn } from "../../hooks/useModels";
import { useQuiet } from "../../hooks/useQuiet";
import { useElapsed } from "../../hooks/useElapsed";
import { formatBytes, formatRate } from "../../lib/bytes";
import { formatEta, PENDING_LABEL, phaseLabel } from "../../lib/labels";
import { countsBytes, isUncounted, shareOf } from "../../lib/progress";
import type { Live, Pending } from "../../types/feed";
import type { Model } from "../../types/model";
import { JobProgress } from "./JobProgress";

interface Props {
  model: Model;
  live: Live | undefined;
  pending: Pending | undefined;
}

/** A job as facts: the phase in words; a bar, bytes, rate and time left as far as they are known. */
export function ProgressLine({ model, live, pending }: Props) {
  const progress = live?.progress ?? model.progress;
  const inBytes = countsBytes(model, progress);
  const uncounted = isUncounted(progress);
  const share = shareOf(model, progress);
  const stale = useConn() === "stale";
  const words = pending === undefined ? phaseLabel(model, progress) : PENDING_LABEL[pending.op];
  const phase = stale ? `${words} (last known)` : words;
  const done = progress?.bytes_done ?? live?.downloaded_bytes ?? model.downloaded_bytes;
  const total = progress?.bytes_total ?? (progress?.phase === "loading" ? null : model.size_bytes);
  const quiet = useQuiet(live?.heardAt);
  const flowing = model.status === "downloading" && pending === undefined && !stale && !quiet;
  const elapsed = useElapsed(model.status === "paused" || stale ? undefined : progress?.started_at);
  const figures = [
    !inBytes || uncounted
      ? ""
      : total === null
        ? done > 0
          ? formatBytes(done)
          : ""
        : `${formatBytes(done)} of ${formatBytes(total)}`,
    flowing && !uncounted && progress?.phase !== "retrying" ? formatRate(progress?.bytes_per_second) : "",
    (flowing && !uncounted) || (!inBytes && !stale) ? formatEta(progress) : "",
  ].filter(Boolean);
  return (
    <JobProgress
      name={model.name}
      phase={phase}
      share={share}
      figures={figures}
      elapsed={elapsed}
      tone={progress?.phase === "retrying" ? "retrying" : model.status === "paused" || stale ? "still" : "active"}
    />
  );
}
