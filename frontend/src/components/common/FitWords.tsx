import { Clock } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { fitOf } from "../../lib/fit";
import type { Device, Verdict } from "../../types/model";
import { VerdictWords } from "../models/memory/Yard";

interface FreeVerdictProps {
  verdict: Verdict;
  /** What was held against the free memory, and what else is to be said of it. */
  what: string;
  remark?: string;
  children: React.ReactNode;
}

/** A verdict on what is free now; while the server is away it is no verdict any more, but what was so then. */
export function FreeVerdict({ verdict, what, remark = "", children }: FreeVerdictProps) {
  const stale = useConn() === "stale";
  return (
    <span title={`${what} against what ${stale ? "was free when the server was last heard" : "is free now"}${remark}`}>
      <VerdictWords verdict={stale ? "unknown" : verdict} icon={stale ? Clock : undefined}>
        {children}
      </VerdictWords>
    </span>
  );
}

/** Whether so many bytes of weights fit. */
export function FitWords({ bytes, devices }: { bytes: number; devices: Device[] }) {
  const { verdict, words } = fitOf(bytes, devices);
  return (
    <FreeVerdict verdict={verdict} what="Weights alone">
      {words}
    </FreeVerdict>
  );
}
