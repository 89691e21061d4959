import { Text } from "@mantine/core";
import { formatBytes, formatCount } from "../../../lib/bytes";
import { roughWeights } from "../../../lib/fit";
import { useSystemStore } from "../../../stores/systemStore";
import { FitLabel } from "../../common/VerdictLabel";

export interface RoughFacts {
  parameters: number;
  /** What they are stored in; null is taken for 16 bits. */
  dtype: string | null;
}

/** A first figure from the number of parameters, where or while there is no better one. */
export function RoughMemory({ parameters, dtype }: RoughFacts) {
  const devices = useSystemStore((state) => state.system?.devices);
  const bytes = roughWeights(parameters, dtype);
  return (
    <Text size="sm" component="div" className="num">
      ≈ {formatBytes(bytes)} for the weights alone in {dtype ?? "16 bits"}, from {formatCount(parameters)} parameters.{" "}
      {devices !== undefined && <FitLabel bytes={bytes} devices={devices} />}
    </Text>
  );
}
