import { Button, Modal, Stack, Textarea } from "@mantine/core";
import { useState } from "react";
import { useModel, useModelList } from "../../../hooks/useModels";
import { tagsOf } from "../../../lib/filter";
import { MAX_NOTE_LENGTH } from "../../../lib/labelLimits";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { DialogButtons } from "../../common/DialogButtons";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { TagsField } from "./TagsField";

interface Props {
  opened: boolean;
  /** Id of a model of the repository. */
  id: string | null;
  onClose: () => void;
}

/** Changes the tags and the note of a repository. */
export default function LabelsDialog({ opened, id, onClose }: Props) {
  const model = useModel(id ?? "");
  return (
    <Modal opened={opened} onClose={onClose} title={`Tags and note of ${model?.name ?? "the model"}`}>
      {model !== undefined && <Body key={model.id} model={model} onClose={onClose} />}
    </Modal>
  );
}

function Body({ model, onClose }: { model: Model; onClose: () => void }) {
  const changeLabels = useModelsStore((state) => state.changeLabels);
  const known = tagsOf(useModelList());
  const [tags, setTags] = useState(model.tags);
  const [note, setNote] = useState(model.note);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function save() {
    setBusy(true);
    try {
      await changeLabels(model.id, { tags, note: note.trim() });
      onClose();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <Stack>
      <ConnectionNotice />
      <TagsField tags={tags} known={known} onChange={setTags} />
      <Textarea
        label="Note"
        rows={6}
        maxLength={MAX_NOTE_LENGTH}
        value={note}
        onChange={(event) => setNote(event.currentTarget.value)}
      />
      {problem !== null && <ProblemAlert title="Could not save the tags and the note" problem={problem} />}
      <DialogButtons>
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <ServerButton loading={busy} onClick={() => void save()}>
          Save
        </ServerButton>
      </DialogButtons>
    </Stack>
  );
}
