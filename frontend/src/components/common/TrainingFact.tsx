import { Text } from "@mantine/core";
import { compatibilityLabel, reasonSentences } from "../../lib/training";
import type { TrainingCompatibility } from "../../types/training";

/** Whether a model can be trained on, in a line. */
export function TrainingFact({ training }: { training: TrainingCompatibility }) {
  const { compatible, reasons } = training;
  const color = compatible === null ? "var(--y-warn)" : compatible ? "dimmed" : "var(--y-bad)";
  return (
    <Text size="sm" mt={6} c={color}>
      {[compatibilityLabel(training), ...reasonSentences(reasons)].join(". ")}
    </Text>
  );
}
