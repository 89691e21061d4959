import { Group, Modal, NativeSelect, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { deleteDataset } from "../../api/trainings";
import type { Resource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import type { SentDataset } from "../../types/training";
import { DeleteAnswers } from "../common/DeleteAnswers";
import { DeleteButton } from "../common/DeleteButton";
import { WideField } from "../common/Fields";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";

interface Props {
  sent: Resource<SentDataset[]>;
  path: string;
  onChoose: (path: string) => void;
}

/** The files that were sent to the server before: to be chosen again, or removed. */
export function SentDatasets({ sent, path, onChoose }: Props) {
  const [asking, setAsking] = useState(false);
  const files = sent.data ?? [];
  const chosen = files.find((file) => file.path === path);
  if (sent.problem !== null)
    return (
      <WideField>
        <ProblemAlert title="Uploaded files are not available" problem={sent.problem} tone="warn">
          <TryAgain onClick={sent.reload} />
        </ProblemAlert>
      </WideField>
    );
  if (files.length === 0) return null;
  return (
    <WideField>
      <Group gap="xs" align="flex-end" wrap="nowrap">
        <NativeSelect
          style={{ flex: 1, minWidth: 0 }}
          label="Uploaded before"
          value={chosen?.path ?? ""}
          onChange={(event) => onChoose(event.currentTarget.value)}
          data={[
            { value: "", label: "None of these" },
            ...files.map((file) => ({ value: file.path, label: `${file.name}, ${formatBytes(file.size_bytes)}` })),
          ]}
        />
        {chosen !== undefined && <DeleteButton onClick={() => setAsking(true)} />}
      </Group>
      <Modal
        opened={asking && chosen !== undefined}
        onClose={() => setAsking(false)}
        title={`Delete ${chosen?.name ?? ""}`}
      >
        {chosen !== undefined && (
          <DeleteDataset
            file={chosen}
            onClose={() => setAsking(false)}
            onDeleted={() => {
              setAsking(false);
              onChoose("");
              sent.reload();
            }}
          />
        )}
      </Modal>
    </WideField>
  );
}

interface DeleteProps {
  file: SentDataset;
  onClose: () => void;
  onDeleted: () => void;
}

function DeleteDataset({ file, onClose, onDeleted }: DeleteProps) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const runs = file.used_by.length;

  async function confirm() {
    setBusy(true);
    try {
      const { freed_bytes } = await deleteDataset(file.name);
      toastDone(`${file.name} deleted`, `${formatBytes(freed_bytes)} freed.`);
      onDeleted();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <Stack>
      <Text>
        {runs === 0
          ? "No training run uses it."
          : `${runs === 1 ? "1 training run uses" : `${runs} training runs use`} it. Trained SAEs stay, but a stopped run cannot be resumed without it.`}
      </Text>
      {problem !== null && <ProblemAlert title="It was not deleted" problem={problem} />}
      <DeleteAnswers
        label={`Delete and free ${formatBytes(file.size_bytes)}`}
        busy={busy}
        onKeep={onClose}
        onDelete={() => void confirm()}
      />
    </Stack>
  );
}
