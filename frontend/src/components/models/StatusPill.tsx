import {
  CheckCircle2,
  CircleAlert,
  CircleSlash,
  Clock,
  Download,
  FileQuestion,
  type LucideIcon,
  PauseCircle,
  Shrink,
  Trash2,
} from "lucide-react";
import { PENDING_WORD, STATUS_WORD } from "../../lib/words";
import type { Pending } from "../../stores/applyEvents";
import type { ModelStatus } from "../../types/model";
import classes from "./StatusPill.module.css";

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

export function StatusPill({ status, pending }: { status: ModelStatus; pending?: Pending | undefined }) {
  const Icon = ICON[status];
  return (
    <span className={classes.pill} data-status={status}>
      <Icon size={14} aria-hidden />
      {pending === undefined ? STATUS_WORD[status] : PENDING_WORD[pending.op]}
    </span>
  );
}
