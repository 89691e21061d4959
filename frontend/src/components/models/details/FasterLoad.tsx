import { Group, Text } from "@mantine/core";
import { fasterDtypeLabel } from "../../../lib/memory";
import { useModelsStore } from "../../../stores/modelsStore";
import type { MemoryEstimate, Model } from "../../../types/model";
import { ServerButton } from "../../common/ServerButton";

interface Props {
  model: Model;
  estimate: MemoryEstimate | null;
  busy: boolean;
}

/** Offers the dtype in which the server's processor is faster than in the one the model is stored in. */
export function FasterLoad({ model, estimate, busy }: Props) {
  const act = useModelsStore((state) => state.act);
  const faster = estimate?.fast_dtype;
  const option = estimate?.options.find(({ quantization }) => quantization === model.quantization);
  if (model.status !== "ready" || faster == null || option?.available !== true) return null;
  const loaded = model.used_by.some(({ dtype }) => dtype === faster.dtype);
  return (
    <Group gap="sm" mt="xs">
      <Text size="sm" className="num">
        {fasterDtypeLabel(faster, option.fast_dtype_bytes)}
      </Text>
      <ServerButton
        size="compact-sm"
        variant="default"
        disabled={busy || loaded || model.progress !== null}
        onClick={() => void act(model.id, "load", faster.dtype)}
      >
        {loaded ? `Loaded in ${faster.dtype}` : `Load in ${faster.dtype}`}
      </ServerButton>
    </Group>
  );
}
