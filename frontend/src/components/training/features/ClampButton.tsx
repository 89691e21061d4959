import { Button } from "@mantine/core";
import { useNavigate } from "react-router";
import { useModelList } from "../../../hooks/useModels";
import { modelPath } from "../../../lib/modelPath";
import { withClamp } from "../../../lib/trial";
import { trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Sae } from "../../../types/sae";

interface Props {
  sae: Sae;
  feature: number;
  value: number;
}

/** Holds a feature at its largest activation, and leads to where the model is tried with it. */
export function ClampButton({ sae, feature, value }: Props) {
  const navigate = useNavigate();
  const models = useModelList().filter(({ id, status }) => status === "ready" && sae.compatible_with.includes(id));
  const model = models.find(({ id }) => id === sae.features?.model_row_id) ?? models[0];
  if (model === undefined || model.generates_text === false) return null;
  const clamp = () => {
    const store = usePlaygroundStore.getState();
    // What was tried before is kept.
    store.recall(model.id);
    const { settings } = trialOf(usePlaygroundStore.getState(), model.id);
    const clamped = { saeId: sae.id, saeName: sae.name, feature, value: Number(value.toPrecision(3)) };
    store.setSettings(model.id, { clamps: withClamp(settings.clamps, clamped) });
    void navigate(modelPath(model.id, "try"));
  };
  return (
    <Button size="xs" variant="default" title={model.name} onClick={clamp}>
      Clamp in Try it
    </Button>
  );
}
