import { Group, Modal, NativeSelect, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { deleteDataset } from "../../api/trainings";
import type { Resource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { doLater } from "../../lib/later";
import { toastDone, toastProblem } from "../../lib/toast";
import { useDatasetsStore } from "../../stores/datasetsStore";
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
  const leaving = useDatasetsStore((state) => state.leaving);
  const files = (sent.data ?? []).filter(({ name }) => !leaving.has(name));
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
            onDelete={() => {
              setAsking(false);
              onChoose("");
              deleteLater(chosen, sent.reload);
            }}
          />
        )}
      </Modal>
    </WideField>
  );
}

function deleteLater({ name }: SentDataset, reload: () => void): void {
  const undo = useDatasetsStore.getState().announceDeletion(name);
  doLater({
    title: `${name} will be deleted`,
    undo,
    run: () =>
      void deleteDataset(name)
        .then(
          ({ freed_bytes }) => {
            toastDone(`${name} deleted`, `${formatBytes(freed_bytes)} freed.`);
            reload();
          },
          (error: unknown) => toastProblem(`${name} was not deleted`, error),
        )
        // A file of that name that is sent again later is another one.
        .finally(undo),
  });
}

interface DeleteProps {
  file: SentDataset;
  onClose: () => void;
  onDelete: () => void;
}

function DeleteDataset({ file, onClose, onDelete }: DeleteProps) {
  const runs = file.used_by.length;
  return (
    <Stack>
      <Text>
        {runs === 0
          ? "No training run uses it."
          : `${runs === 1 ? "1 training run uses" : `${runs} training runs use`} it. Trained SAEs stay, but a stopped run cannot be resumed without it.`}
      </Text>
      <DeleteAnswers label={`Delete and free ${formatBytes(file.size_bytes)}`} onKeep={onClose} onDelete={onDelete} />
    </Stack>
  );
}
