import { Anchor, Button, Group, Modal, Stack, Text, Title } from "@mantine/core";
import { Download } from "lucide-react";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { cancelSaeWork, evaluateSae, exportAddress } from "../../api/saes";
import { useModelList } from "../../hooks/useModels";
import { useSae } from "../../hooks/useSaes";
import { useTitle } from "../../hooks/useTitle";
import { useTraining } from "../../hooks/useTrainings";
import { formatBytes } from "../../lib/bytes";
import { fromRow } from "../../lib/problems";
import { isAtWork, saeNotebook, SOURCE_LABEL, workFigures, workLabel, workShare } from "../../lib/sae";
import { toastProblem } from "../../lib/toast";
import type { Sae, SaeWork } from "../../types/sae";
import { CopyText } from "../common/CopyText";
import { DeleteButton } from "../common/DeleteButton";
import { Fact, Facts } from "../common/Facts";
import { JobProgress } from "../common/JobProgress";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { ServerButton } from "../common/ServerButton";
import { TryAgain } from "../common/TryAgain";
import { DeleteSae } from "./DeleteSae";
import { EngineMissing, useEngine } from "./EngineMissing";
import { SaeFigures } from "./SaeFigures";
import { SaeTextForm } from "./SaeTextForm";
import { SaeFeatures } from "./features/SaeFeatures";
import { TrainingPage } from "./TrainingPage";
import { NotebookCode } from "./NotebookCode";
import classes from "./TrainingRun.module.css";

/** One sparse autoencoder at its own address. */
export default function SaeView() {
  const { id = "" } = useParams();
  const { data: sae, problem, reload } = useSae(id);
  const [asking, setAsking] = useState(false);
  useTitle(sae?.name ?? "Sparse autoencoder");
  return (
    <TrainingPage>
      <div className={classes.head}>
        <Anchor component={Link} to="/training" size="sm">
          Training
        </Anchor>
        <Title order={1} className={classes.title}>
          {sae?.name ?? "Sparse autoencoder"}
        </Title>
        {sae !== null && (
          <Group gap="xs">
            {sae.status === "ready" && (
              <Button
                component="a"
                href={exportAddress(sae.id)}
                download
                variant="default"
                leftSection={<Download size={14} aria-hidden />}
              >
                Export
              </Button>
            )}
            <DeleteButton disabled={isAtWork(sae)} onClick={() => setAsking(true)} />
          </Group>
        )}
      </div>
      {problem !== null && (
        <ProblemAlert title="Could not load the sparse autoencoder" problem={problem}>
          <TryAgain onClick={reload} />
        </ProblemAlert>
      )}
      {sae === null && problem === null && <Placeholder h={240} label="Loading the sparse autoencoder" />}
      {sae !== null && (
        <Stack gap="md">
          <EngineMissing />
          <Remarks sae={sae} />
          {sae.work !== null && <Work sae={sae} work={sae.work} onChange={reload} />}
          {sae.status === "ready" && <Evaluation sae={sae} onStarted={reload} />}
          {sae.status === "ready" && <SaeFeatures sae={sae} onStarted={reload} />}
          <Identity sae={sae} />
          <Modal opened={asking} onClose={() => setAsking(false)} title={`Delete ${sae.name}`}>
            <DeleteSae sae={sae} onClose={() => setAsking(false)} />
          </Modal>
        </Stack>
      )}
    </TrainingPage>
  );
}

function Remarks({ sae }: { sae: Sae }) {
  if (sae.warnings.length === 0) return null;
  return (
    <ul aria-label="Remarks">
      {sae.warnings.map(({ code, message, model_id }) => (
        <li key={code + (model_id ?? "")}>
          <Text size="sm">{message}</Text>
        </li>
      ))}
    </ul>
  );
}

function Work({ sae, work, onChange }: { sae: Sae; work: SaeWork; onChange: () => void }) {
  if (work.state === "done" || work.state === "cancelled") return null;
  if (work.error !== null && work.state === "failed")
    return <ProblemAlert title="The last work on it failed" problem={fromRow(work.error)} />;
  const cancel = () =>
    void cancelSaeWork(sae.id).then(onChange, (error: unknown) => toastProblem("Could not cancel the work", error));
  return (
    <Section label="Progress" title={null}>
      <JobProgress
        name={sae.name}
        phase={workLabel(work)}
        share={workShare(work)}
        figures={workFigures(work)}
        elapsed={null}
        tone="active"
      />
      <ServerButton size="xs" mt="sm" variant="default" disabled={work.state === "stopping"} onClick={cancel}>
        Cancel
      </ServerButton>
    </Section>
  );
}

function Evaluation({ sae, onStarted }: { sae: Sae; onStarted: () => void }) {
  const { training, load } = useTraining(sae.training_id);
  const engine = useEngine();
  const [again, setAgain] = useState(false);
  const busy = isAtWork(sae);
  // What the run was trained on is the first suggestion, so the form waits for it.
  const known = sae.training_id === null || load.state === "ready" || load.state === "error";
  const shown = !busy && engine !== false && known && (sae.evaluation === null || again);
  return (
    <Section label="Evaluation">
      {sae.evaluation !== null && <SaeFigures evaluation={sae.evaluation} />}
      {sae.evaluation === null && (
        <Text size="sm" c="dimmed" mb="md">
          The model reads a text, and its activations are compared with what this makes of them.
        </Text>
      )}
      {shown && (
        <SaeTextForm
          action="Evaluate"
          start={(request) => evaluateSae(sae.id, request)}
          tokens={50_000}
          description="At most; of the text it was trained on, only the rows kept back are read"
          text={training?.dataset}
          onStarted={() => {
            setAgain(false);
            onStarted();
          }}
        />
      )}
      {sae.evaluation !== null && !busy && !again && engine !== false && (
        <Button variant="default" size="xs" mt="sm" onClick={() => setAgain(true)}>
          Evaluate again…
        </Button>
      )}
    </Section>
  );
}

function Identity({ sae }: { sae: Sae }) {
  const models = useModelList().filter(({ id }) => sae.compatible_with.includes(id));
  const lines = saeNotebook(sae);
  return (
    <Section label="Details">
      <Stack gap="sm">
        <Facts columns={260}>
          <Fact name="Model">{sae.model_id}</Fact>
          <Fact name="Hook point">{sae.hook_point}</Fact>
          <Fact name="Features">{sae.d_sae?.toLocaleString("en") ?? null}</Fact>
          <Fact name="Width">{sae.d_in?.toLocaleString("en") ?? null}</Fact>
          <Fact name="Architecture">{sae.architecture}</Fact>
          <Fact name="Source">
            {sae.training_id === null ? (
              SOURCE_LABEL[sae.source]
            ) : (
              <Anchor component={Link} to={`/training/${sae.training_id}`} size="sm">
                {SOURCE_LABEL[sae.source]}
              </Anchor>
            )}
          </Fact>
          <Fact name="Trained on commit">{sae.commit?.slice(0, 12) ?? null}</Fact>
          <Fact name="Size on disk">{sae.size_bytes === null ? null : formatBytes(sae.size_bytes)}</Fact>
          <Fact name="Fits" wide>
            {models.length === 0
              ? "No installed model"
              : models.map(({ id, name }) => (
                  <Anchor key={id} component={Link} to={`/models/${id}`} size="sm" mr="sm">
                    {name}
                  </Anchor>
                ))}
          </Fact>
        </Facts>
        <CopyText text={sae.folder} label="folder of the SAE" wrap />
        <NotebookCode lines={lines} />
      </Stack>
    </Section>
  );
}
