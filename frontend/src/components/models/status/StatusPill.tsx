import {
  CheckCircle2,
  CircleAlert,
  CircleSlash,
  Clock,
  Download,
  FileQuestion,
  type LucideIcon,
  MemoryStick,
  PauseCircle,
  ShieldCheck,
  Shrink,
  Trash2,
} from "lucide-react";
import { LOAD_LABEL, loadState, PENDING_LABEL, statusLabel } from "../../../lib/labels";
import type { Pending } from "../../../types/feed";
import type { ModelStatus, Progress, RowError } from "../../../types/model";
import { Pill, type Tone } from "../../common/Pill";

const ICON: Record<ModelStatus, LucideIcon> = {
  pending: Clock,
  downloading: Download,
  paused: PauseCircle,
  quantizing: Shrink,
  ready: CheckCircle2,
  failed: CircleAlert,
  cancelled: CircleSlash,
  missing: FileQuestion,
  deleting: Trash2,
};

interface Props {
  status: ModelStatus;
  /** Why the server paused it. */
  error?: RowError | null;
  /** What is under way; of a ready model, its load. */
  progress?: Progress | null | undefined;
  pending?: Pending | undefined;
}

export function StatusPill({ status, error = null, progress, pending }: Props) {
  const phase = progress?.phase;
  const hashing = status === "downloading" && (phase === "verifying" || phase === "checking");
  const load = status === "ready" ? loadState(progress) : null;
  const Icon = hashing ? ShieldCheck : load !== null ? MemoryStick : ICON[status];
  const word = hashing ? "Verifying" : load !== null ? LOAD_LABEL[load] : statusLabel({ status, error });
  return (
    <Pill icon={Icon} tone={load !== null ? "active" : toneOf(status, error)}>
      {pending === undefined ? word : PENDING_LABEL[pending.op]}
    </Pill>
  );
}

function toneOf(status: ModelStatus, error: RowError | null): Tone {
  switch (status) {
    case "ready":
      return "good";
    case "downloading":
    case "pending":
    case "quantizing":
      return "active";
    case "failed":
      return "bad";
    case "missing":
      return "warn";
    case "paused":
      return error === null ? "neutral" : "warn";
    default:
      return "neutral";
  }
}
