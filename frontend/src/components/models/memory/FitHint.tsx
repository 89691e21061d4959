import { roughFit } from "../../../lib/fit";
import { useSystemStore } from "../../../stores/systemStore";
import { LiveVerdictLabel } from "../../common/VerdictLabel";

/** A first idea of whether a model fits this machine, from its number of parameters; nothing until that is known. */
export function FitHint({ parameters }: { parameters: number | null }) {
  const devices = useSystemStore((state) => state.system?.devices);
  if (devices === undefined) return null;
  const fit = roughFit(parameters, devices);
  return (
    <LiveVerdictLabel verdict={fit.verdict} what="Estimated 16-bit weights">
      {fit.verdict !== "unknown" && "≈ "}
      {fit.words}
    </LiveVerdictLabel>
  );
}
