import { fitOf } from "../../../lib/fit";
import { useSystemStore } from "../../../stores/systemStore";
import { LiveVerdictLabel } from "../../common/VerdictLabel";

/** A first idea of whether a model fits this machine, from its weights alone; nothing until that is known. */
export function FitHint({ bytes }: { bytes: number | null }) {
  const devices = useSystemStore((state) => state.system?.devices);
  if (devices === undefined) return null;
  const fit = fitOf(bytes, devices);
  return (
    <LiveVerdictLabel verdict={fit.verdict} what="Estimated weights">
      {fit.verdict !== "unknown" && "≈ "}
      {fit.words}
    </LiveVerdictLabel>
  );
}
