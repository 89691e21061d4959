import { Text } from "@mantine/core";
import { getCompatibility } from "../../api/trainings";
import { useResource } from "../../hooks/useResource";
import { compatibilityWords, reasonSentences } from "../../lib/training";

/** Whether a model that is ready can be trained on, in a line, once that is known; the form tells problems of asking. */
export function TrainingFact({ modelId }: { modelId: string }) {
  const { data } = useResource(modelId, (signal) => getCompatibility(modelId, signal));
  if (data === null) return null;
  const color = data.compatible === null ? "var(--y-warn)" : data.compatible ? "dimmed" : "var(--y-bad)";
  return (
    <Text size="sm" mt={6} c={color}>
      SAE training: {[compatibilityWords(data).toLowerCase(), ...reasonSentences(data.reasons)].join(". ")}
    </Text>
  );
}
