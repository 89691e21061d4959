import { Clock } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { fitOf } from "../../lib/fit";
import type { Device } from "../../types/model";
import { VerdictWords } from "./Yard";

/** Whether so many bytes of weights fit what is free now, or was when the server was last heard. */
export function FitWords({ bytes, devices }: { bytes: number; devices: Device[] }) {
  const stale = useConn() === "stale";
  const { verdict, words } = fitOf(bytes, devices);
  return (
    <span title={`Weights alone against what ${stale ? "was free when the server was last heard" : "is free now"}`}>
      {stale ? (
        <VerdictWords verdict="unknown" icon={Clock}>
          {words}
        </VerdictWords>
      ) : (
        <VerdictWords verdict={verdict}>{words}</VerdictWords>
      )}
    </span>
  );
}
