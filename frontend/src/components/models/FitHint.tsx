import { Clock } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { roughFit } from "../../lib/fit";
import { useSystemStore } from "../../stores/systemStore";
import { VerdictWords } from "./Yard";

/** A first idea of whether a model fits this machine, from its number of parameters; nothing until that is known. */
export function FitHint({ parameters }: { parameters: number | null }) {
  const devices = useSystemStore((state) => state.system?.devices);
  const stale = useConn() === "stale";
  if (devices === undefined) return null;
  const fit = roughFit(parameters, devices);
  return (
    <span
      title={`16-bit weights alone against what ${
        stale ? "was free when the server was last heard" : "is free now"
      }; the preview is exact`}
    >
      <VerdictWords verdict={stale ? "unknown" : fit.verdict} icon={stale ? Clock : undefined}>
        {fit.verdict !== "unknown" && "≈ "}
        {fit.words}
      </VerdictWords>
    </span>
  );
}
