import { Modal, Stack, Text } from "@mantine/core";
import { useEffect } from "react";
import { useLive, useModel } from "../../hooks/useModels";
import { canPause, discardLabel, losesWork } from "../../lib/cancel";
import { precisionLabel } from "../../lib/labels";
import { useModelsStore } from "../../stores/modelsStore";
import { ConnectionNotice } from "./ConnectionNotice";
import { DialogButtons } from "./DialogButtons";
import { ServerButton } from "./ServerButton";

interface Props {
  /** Null while nothing is asked. */
  id: string | null;
  onClose: () => void;
}

/** Asks before work is given up that took something; closes by itself once there is nothing to lose any more. */
export function ConfirmCancel({ id, onClose }: Props) {
  const model = useModel(id ?? "");
  const live = useLive(id ?? "");
  const act = useModelsStore((state) => state.act);
  const asking = model !== undefined && losesWork(model, live);
  useEffect(() => {
    if (id !== null && !asking) onClose();
  }, [id, asking, onClose]);
  const answer = (action: "cancel" | "pause") => {
    onClose();
    if (id !== null) void act(id, action);
  };
  return (
    <Modal opened={asking} onClose={onClose} title={model === undefined ? "" : `Cancel ${model.name}`} size="md">
      {model !== undefined && (
        <Stack>
          <ConnectionNotice />
          <Text>
            <span className="mono">{model.model_id}</span>, {precisionLabel(model).toLowerCase()}
          </Text>
          <Text>
            {model.status === "quantizing"
              ? "The unfinished copy is deleted; the original stays."
              : "What was downloaded so far is deleted."}
          </Text>
          <DialogButtons>
            {canPause(model) ? (
              <ServerButton variant="default" onClick={() => answer("pause")} data-autofocus>
                Pause instead
              </ServerButton>
            ) : (
              <ServerButton variant="default" onClick={onClose} data-autofocus>
                Keep it
              </ServerButton>
            )}
            <ServerButton color="red" onClick={() => answer("cancel")}>
              {discardLabel(model, live)}
            </ServerButton>
          </DialogButtons>
        </Stack>
      )}
    </Modal>
  );
}
