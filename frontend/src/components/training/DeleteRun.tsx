import { Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useNavigate } from "react-router";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import { runName } from "../../lib/training";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Training } from "../../types/training";
import { DeleteAnswers } from "../common/DeleteAnswers";
import { ProblemAlert } from "../common/ProblemAlert";

export function DeleteRun({ training, onClose }: { training: Training; onClose: () => void }) {
  const navigate = useNavigate();
  const remove = useTrainingsStore((state) => state.remove);
  const busy = useTrainingsStore((state) => state.pending[training.id] === "delete");
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const finished = training.output_path !== null;

  async function confirm() {
    try {
      const freed = await remove(training.id);
      toastDone(`${runName(training)} deleted`, `${formatBytes(freed)} freed.`);
      void navigate("/training");
    } catch (error) {
      setProblem(toProblem(error));
    }
  }

  return (
    <Stack>
      <Text>
        {finished
          ? "The trained SAE, its curves and its log are removed. The model and the text stay."
          : "Its checkpoint, its curves and its log are removed; it cannot be resumed any more. The model and the text stay."}
      </Text>
      {problem !== null && <ProblemAlert title="Nothing was deleted" problem={problem} />}
      <DeleteAnswers
        // What a checkpoint takes is known only once it is gone.
        label={finished ? `Delete and free ${formatBytes(training.plan.output_bytes)}` : "Delete"}
        busy={busy}
        onKeep={onClose}
        onDelete={() => void confirm()}
      />
    </Stack>
  );
}
