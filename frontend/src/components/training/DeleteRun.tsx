import { Stack, Text } from "@mantine/core";
import { useNavigate } from "react-router";
import { formatBytes } from "../../lib/bytes";
import { doLater } from "../../lib/later";
import { toastDone, toastProblem } from "../../lib/toast";
import { runName } from "../../lib/training";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { DeleteAnswers } from "../common/DeleteAnswers";

export function DeleteRun({ training, onClose }: { training: Training; onClose: () => void }) {
  const navigate = useNavigate();
  const { remove, announceDeletion } = useTrainingsStore.getState();
  const name = runName(training);
  const finished = training.output_path !== null;

  function confirm() {
    onClose();
    const undo = announceDeletion(training.id);
    doLater({
      title: `${name} will be deleted`,
      undo,
      run: () =>
        void remove(training.id).then(
          (freed) => toastDone(`${name} deleted`, `${formatBytes(freed)} freed.`),
          (error: unknown) => toastProblem(`${name} was not deleted`, error),
        ),
    });
    void navigate("/training");
  }

  return (
    <Stack>
      <Text>
        {finished
          ? "The trained SAE, its curves and its log are removed. The model and the text stay."
          : "Its checkpoint, its curves and its log are removed; it cannot be resumed any more. The model and the text stay."}
      </Text>
      <DeleteAnswers
        // What a checkpoint takes is known only once it is gone.
        label={finished ? `Delete and free ${formatBytes(training.plan.output_bytes)}` : "Delete"}
        onKeep={onClose}
        onDelete={confirm}
      />
    </Stack>
  );
}
