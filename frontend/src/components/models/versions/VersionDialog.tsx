import { Button, Checkbox, Modal, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { planVersion, type VersionChange } from "../../../api/models";
import { useModelList } from "../../../hooks/useModels";
import { useResource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import { QUANTIZATION_LABEL } from "../../../lib/labels";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { toastDone } from "../../../lib/toast";
import { changesLabel, isOutdated } from "../../../lib/versions";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model, UpdatePlan } from "../../../types/model";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { DialogButtons } from "../../common/DialogButtons";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { TryAgain } from "../../common/TryAgain";

export interface VersionWish {
  /** The version in use. */
  model: Model;
  change: VersionChange;
}

interface Props {
  opened: boolean;
  wish: VersionWish | null;
  onClose: () => void;
}

/** Uses another version of a model: first what that changes and what has to be downloaded. */
export default function VersionDialog({ opened, wish, onClose }: Props) {
  const what = wish?.change.to === "newest" ? "Update" : "Roll back";
  return (
    <Modal opened={opened} onClose={onClose} title={`${what} ${wish?.model.name ?? ""}`} size="md">
      <ConnectionNotice />
      {wish !== null && <Body key={wish.model.id} wish={wish} onClose={onClose} />}
    </Modal>
  );
}

function Body({ wish: { model, change }, onClose }: { wish: VersionWish; onClose: () => void }) {
  const changeVersion = useModelsStore((state) => state.changeVersion);
  const copies = useOutdatedCopies(model);
  const updates = change.to === "newest";
  const plan = useResource(JSON.stringify([model.id, change]), (signal) => planVersion(model.id, change, signal));
  const [withCopies, setWithCopies] = useState(true);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const nothing = plan.data !== null && plan.data.id === model.id;

  async function start() {
    setBusy(true);
    setProblem(null);
    try {
      const { status } = await changeVersion(model.id, change);
      // What they are made of is asked for before them.
      if (updates && withCopies) for (const copy of copies) await changeVersion(copy.id, change);
      if (status === "ready") toastDone(`${model.name} is at ${plan.data?.commit.slice(0, 10) ?? ""} now`);
      else toastDone(`Downloading ${model.name}`, "The installed version is used until it is ready.");
      onClose();
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Stack>
      {plan.data === null && plan.loading && <Placeholder h={66} label="Comparing the versions" />}
      {plan.problem !== null && (
        <ProblemAlert title="The versions could not be compared" problem={plan.problem}>
          <TryAgain onClick={plan.reload} />
        </ProblemAlert>
      )}
      {plan.data !== null &&
        (nothing ? <Text>This is the newest version.</Text> : <Plan model={model} plan={plan.data} />)}
      {updates && !nothing && copies.length > 0 && (
        <Checkbox
          checked={withCopies}
          onChange={(event) => setWithCopies(event.currentTarget.checked)}
          label={`Make the ${copies.map((copy) => QUANTIZATION_LABEL[copy.quantization]).join(" and ")} ${copies.length === 1 ? "copy" : "copies"} anew, too`}
          description="Copies of the installed version stay."
        />
      )}
      {problem !== null && (
        <ProblemAlert title={updates ? "The update did not start" : "Could not roll back"} problem={problem} />
      )}
      <DialogButtons>
        <Button variant="default" onClick={onClose}>
          {nothing ? "Close" : "Cancel"}
        </Button>
        {!nothing && (
          <ServerButton loading={busy} disabled={plan.data === null} onClick={() => void start()} data-autofocus>
            {updates ? "Update" : "Roll back"}
          </ServerButton>
        )}
      </DialogButtons>
    </Stack>
  );
}

function Plan({ model, plan }: { model: Model; plan: UpdatePlan }) {
  return (
    <div>
      <Text size="sm">
        From <span className="mono">{model.commit.slice(0, 10)}</span> to{" "}
        <span className="mono">{plan.commit.slice(0, 10)}</span>
      </Text>
      <Text fw={600}>{changesLabel(plan)}</Text>
      <Text className="num">
        {plan.id !== null || plan.fetch_bytes === 0
          ? "Nothing to download"
          : `${formatBytes(plan.fetch_bytes)} to download`}
        {plan.makes_copy && "; the quantized copy is made anew"}
      </Text>
      <Text size="sm" c="dimmed" mt="xs">
        {plan.id === null
          ? "The installed version is used until the other one is ready, and stays on the disk."
          : "It is on the disk and is used at once."}
        {model.loaded && " What is loaded stays in memory until it is unloaded."}
      </Text>
    </div>
  );
}

/** The copies of this model that an update would leave behind. */
function useOutdatedCopies({ model_id, revision, quantization }: Model): Model[] {
  const models = useModelList();
  if (quantization !== "none") return [];
  return models.filter(
    (row) =>
      row.model_id === model_id &&
      row.revision === revision &&
      row.quantization !== "none" &&
      row.status === "ready" &&
      isOutdated(row),
  );
}
