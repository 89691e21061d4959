import { AlertTriangle, CheckCircle2, CircleHelp, Clock, type LucideIcon, XCircle } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { fitOf } from "../../lib/fit";
import type { Device, Verdict } from "../../types/model";
import classes from "./VerdictLabel.module.css";

const VERDICT_ICON = { fits: CheckCircle2, tight: AlertTriangle, does_not_fit: XCircle, unknown: CircleHelp } as const;

interface VerdictProps {
  verdict: Verdict;
  /** Where the verdict's own would say something else. */
  icon?: LucideIcon | undefined;
  children: React.ReactNode;
}

export function VerdictLabel({ verdict, icon: Icon = VERDICT_ICON[verdict], children }: VerdictProps) {
  return (
    <span className={classes.verdict} data-verdict={verdict}>
      <Icon size={14} aria-hidden />
      <span>{children}</span>
    </span>
  );
}

interface LiveVerdictProps {
  verdict: Verdict;
  /** What was held against the free memory. */
  what: string;
  children: React.ReactNode;
}

/** A verdict on what is free now; while the server is away it is no verdict any more, but what was so then. */
export function LiveVerdictLabel({ verdict, what, children }: LiveVerdictProps) {
  const stale = useConn() === "stale";
  return (
    <span
      title={`${what}, compared with the memory that ${stale ? "was free when the server last answered" : "is free"}`}
    >
      <VerdictLabel verdict={stale ? "unknown" : verdict} icon={stale ? Clock : undefined}>
        {children}
      </VerdictLabel>
    </span>
  );
}

/** Whether so many bytes of weights fit. */
export function FitLabel({ bytes, devices }: { bytes: number; devices: Device[] }) {
  const { verdict, words } = fitOf(bytes, devices);
  return (
    <LiveVerdictLabel verdict={verdict} what="Weights alone">
      {words}
    </LiveVerdictLabel>
  );
}
