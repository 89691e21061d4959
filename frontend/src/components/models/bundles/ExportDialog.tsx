import { Button, Checkbox, Modal, Select, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { createBundle, getBundle, planBundle } from "../../../api/bundles";
import { useModelGroups } from "../../../hooks/useModels";
import { useResource } from "../../../hooks/useResource";
import { ApiError } from "../../../lib/apiError";
import { formatBytes } from "../../../lib/bytes";
import { type ProblemView, toProblem } from "../../../lib/problems";
import type { Bundle, BundleCreate } from "../../../types/bundle";
import type { Model } from "../../../types/model";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { DialogButtons } from "../../common/DialogButtons";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { TryAgain } from "../../common/TryAgain";
import { BundleState } from "./BundleState";

interface Props {
  opened: boolean;
  model: Model | null;
  onClose: () => void;
}

const ONE_FILE = "0";
const SPLITS = [
  { value: ONE_FILE, label: "One file" },
  { value: "1000000000", label: "Parts of 1 GB" },
  { value: "4000000000", label: "Parts of 4 GB" },
  { value: "10000000000", label: "Parts of 10 GB" },
];

/** Writes a model into a bundle, for a machine without a network: its size first, then its progress and its files. */
export default function ExportDialog({ opened, model, onClose }: Props) {
  return (
    <Modal opened={opened} onClose={onClose} title={`Export ${model?.name ?? ""}`} size="md">
      <ConnectionNotice />
      {model !== null && <Body key={model.id} model={model} onClose={onClose} />}
    </Modal>
  );
}

function Body({ model, onClose }: { model: Model; onClose: () => void }) {
  const [bundle, setBundle] = useState<Bundle | null>(null);
  if (bundle === null) return <Choices model={model} onStarted={setBundle} onClose={onClose} />;
  return (
    <Stack>
      <BundleState initial={bundle} onDeleted={onClose} />
      <Text size="sm" c="dimmed">
        It goes on when this is closed; all bundles are listed under Add local models.
      </Text>
    </Stack>
  );
}

interface ChoicesProps {
  model: Model;
  onStarted: (bundle: Bundle) => void;
  onClose: () => void;
}

function Choices({ model, onStarted, onClose }: ChoicesProps) {
  const groups = useModelGroups();
  const variants = groups.find((group) => group.variants.some(({ id }) => id === model.id))?.variants ?? [];
  const ready = variants.filter(({ id, status }) => id !== model.id && status === "ready");
  const copies = ready.filter(({ commit, quantization }) => commit === model.commit && quantization !== "none");
  const adapters = groups.flatMap((group) => group.variants).filter(({ base_id }) => base_id === model.id);
  const [quantized, setQuantized] = useState(false);
  const [withAdapters, setWithAdapters] = useState(false);
  const [split, setSplit] = useState(ONE_FILE);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const request: BundleCreate = {
    ids: [model.id],
    with_quantized: quantized,
    with_adapters: withAdapters,
    with_saes: false,
    split_bytes: split === ONE_FILE ? null : Number(split),
  };
  const plan = useResource(JSON.stringify(request), (signal) => planBundle(request, signal), model.id);

  async function start() {
    setBusy(true);
    setProblem(null);
    try {
      onStarted(await createBundle(request));
    } catch (error) {
      // The same models make the same bundle, which is here already.
      const id = error instanceof ApiError && error.code === "already_exists" ? error.problem.id : null;
      if (typeof id === "string") onStarted(await getBundle(id));
      else setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Stack>
      <Text size="sm">
        A file with the model, its hashes and its revisions. On another machine, Add local models reads it without a
        network.
      </Text>
      {copies.length > 0 && (
        <Checkbox
          checked={quantized}
          onChange={(event) => setQuantized(event.currentTarget.checked)}
          label={`With its quantized ${copies.length === 1 ? "copy" : "copies"}`}
        />
      )}
      {adapters.length > 0 && (
        <Checkbox
          checked={withAdapters}
          onChange={(event) => setWithAdapters(event.currentTarget.checked)}
          label={`With its ${adapters.length === 1 ? "adapter" : "adapters"}`}
        />
      )}
      <Select
        label="Files"
        data={SPLITS}
        value={split}
        onChange={(value) => setSplit(value ?? ONE_FILE)}
        allowDeselect={false}
      />
      {plan.data !== null && (
        <Text size="sm" className="num">
          {formatBytes(plan.data.size_bytes)} in {plan.data.parts === 1 ? "one file" : `${plan.data.parts} files`};{" "}
          {formatBytes(plan.data.free_bytes)} free on the server
        </Text>
      )}
      {plan.data === null && plan.loading && <Placeholder h={20} label="Computing the size" />}
      {plan.problem !== null && (
        <ProblemAlert title="The size is not available" problem={plan.problem} tone="warn">
          <TryAgain onClick={plan.reload} />
        </ProblemAlert>
      )}
      {plan.data?.refusal != null && (
        <ProblemAlert
          title="It does not fit"
          problem={{ ...plan.data.refusal, hint: plan.data.refusal.hint ?? null }}
          tone="warn"
        />
      )}
      {problem !== null && <ProblemAlert title="The export did not start" problem={problem} />}
      <DialogButtons>
        <Button variant="default" onClick={onClose}>
          Close
        </Button>
        <ServerButton
          loading={busy}
          disabled={plan.data === null || plan.data.refusal !== null}
          onClick={() => void start()}
          data-autofocus
        >
          Export
        </ServerButton>
      </DialogButtons>
    </Stack>
  );
}
