import { Anchor, Button, Group, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { getCompatibility } from "../../api/trainings";
import { useModelList } from "../../hooks/useModels";
import { useResource } from "../../hooks/useResource";
import { useTitle } from "../../hooks/useTitle";
import { type FieldErrors, fieldErrors, useTraining, useTrainingPlan } from "../../hooks/useTrainings";
import { type ProblemView, toProblem } from "../../lib/problems";
import { draftOf, FIRST_DRAFT, requestOf, suggestedPoint, type TrainingDraft } from "../../lib/training";
import { useModelsStore } from "../../stores/modelsStore";
import { useTrainingsStore } from "../../stores/trainingsStore";
import type { Model } from "../../types/model";
import type { Training } from "../../types/training";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import { DatasetFields } from "./DatasetFields";
import { EngineMissing, useEngine } from "./EngineMissing";
import { HookFields } from "./HookFields";
import { ModelSelect } from "./ModelSelect";
import { PlanView } from "./PlanView";
import { SaeFields, ScheduleFields } from "./SaeFields";
import { TrainingPage } from "./TrainingPage";
import classes from "./NewTraining.module.css";

/** A new run: what to train on, and beside it what that would take; filled in from the run that `?from=` names. */
export default function NewTraining() {
  useTitle("New training run");
  const [parameters] = useSearchParams();
  const from = parameters.get("from");
  const { training: run, load } = useTraining(from);
  const lost = from !== null && run === undefined;
  const waits = lost && load.state !== "ready" && load.state !== "error";
  const models = useModelList().filter((model) => model.status === "ready");
  const state = useModelsStore((store) => store.load.state);
  return (
    <TrainingPage>
      <Anchor component={Link} to="/training" size="sm">
        Training
      </Anchor>
      <Title order={1} mb="md">
        Train an SAE
      </Title>
      {models.length > 0 && !waits ? (
        <Stack gap="md">
          <EngineMissing />
          {lost && (
            <Text size="sm" c="dimmed">
              The run in the address was not found; these are the default settings.
            </Text>
          )}
          <TrainingForm models={models} run={run} />
        </Stack>
      ) : models.length === 0 && (state === "ready" || state === "error") ? (
        <EmptyState
          title="No model is ready"
          action={
            <Button component={Link} to="/models?view=hub">
              Get a model
            </Button>
          }
        >
          Training needs an installed model.
        </EmptyState>
      ) : (
        <Placeholder h={320} label="Loading the form" />
      )}
    </TrainingPage>
  );
}

const WHY_NOT: Record<string, string> = {
  "dataset.path": "a text file",
  hook_point: "a hook point",
};

function TrainingForm({ models, run }: { models: Model[]; run: Training | undefined }) {
  const navigate = useNavigate();
  const [parameters, setParameters] = useSearchParams();
  const start = useTrainingsStore((store) => store.start);
  const engine = useEngine();
  const [draft, setDraft] = useState<TrainingDraft>(run === undefined ? FIRST_DRAFT : draftOf(run));
  const [chosen, setChosen] = useState<string | null>(run?.hook_point ?? null);
  const [failure, setFailure] = useState<{ problem: ProblemView; fields: FieldErrors } | null>(null);
  const [busy, setBusy] = useState(false);

  const wanted = parameters.get("model") ?? run?.model_id ?? null;
  const model = models.find(({ id }) => id === wanted);
  const notReady =
    model !== undefined || (wanted === null && run === undefined)
      ? undefined
      : `The model ${run === undefined ? "in the address" : "of that run"} is not ready`;
  const compatibility = useResource(model?.id ?? null, (signal) => getCompatibility(model?.id ?? "", signal));
  const points = compatibility.data?.hook_points ?? [];
  const point = points.find(({ path }) => path === chosen) ?? suggestedPoint(points);
  const answer = model === undefined ? { missing: [] } : requestOf(draft, model.id, point?.path ?? "");
  const request = "request" in answer ? answer.request : null;
  const incompatible = compatibility.data?.compatible === false;
  const planned = useTrainingPlan(incompatible ? null : request);

  const plan = planned.data !== null && "plan" in planned.data ? planned.data.plan : null;
  const refused = planned.data !== null && "problem" in planned.data ? planned.data : null;
  const errors = request === null ? {} : { ...refused?.fields, ...failure?.fields };
  const whyNot = reasonNotToStart();

  function reasonNotToStart(): string | null {
    if (engine === false) return "SAELens is not installed.";
    if (model === undefined) return "Choose a model.";
    if (incompatible) return "This model cannot be trained on.";
    if (compatibility.data === null) return "The model is being inspected.";
    if ("missing" in answer) {
      const first = answer.missing[0] ?? "";
      return `Still needed: ${WHY_NOT[first] ?? "the empty number fields"}.`;
    }
    if (plan?.refusal != null) return "The plan does not fit.";
    return refused === null ? null : "These settings are refused.";
  }

  function change(next: Partial<TrainingDraft>) {
    setDraft((before) => ({ ...before, ...next }));
    setFailure(null);
  }

  function pick(id: string) {
    setParameters({ model: id }, { replace: true });
    setChosen(null);
    if (models.some((one) => one.id === id && one.quantization !== "none"))
      setDraft((before) => ({ ...before, dtype: "auto" }));
    setFailure(null);
  }

  async function submit() {
    if (request === null || whyNot !== null) return;
    setBusy(true);
    setFailure(null);
    try {
      const training = await start(request);
      void navigate(`/training/${training.id}`);
    } catch (error) {
      setFailure({ problem: toProblem(error), fields: fieldErrors(error) });
      setBusy(false);
    }
  }

  return (
    <form
      className={classes.columns}
      aria-label="New training run"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Stack gap="md" miw={0}>
        <Section label="Model and hook point">
          <Stack gap="md">
            <ModelSelect models={models} value={model} error={errors.model_id ?? notReady} onChange={pick} />
            {model !== undefined && (
              <HookFields
                answer={compatibility}
                point={point}
                error={errors.hook_point}
                onChange={(path) => {
                  setChosen(path);
                  setFailure(null);
                }}
              />
            )}
          </Stack>
        </Section>
        <Section label="Text">
          <DatasetFields
            path={draft.path}
            column={draft.column}
            found={planned.data?.text ?? null}
            errors={errors}
            onChange={change}
          />
        </Section>
        <Section label="Sparse autoencoder">
          <SaeFields draft={draft} errors={errors} width={point?.width} onChange={change} />
        </Section>
        <Section label="Training">
          <ScheduleFields
            draft={draft}
            errors={errors}
            beginnings={plan?.beginning_tokens ?? []}
            quantized={model !== undefined && model.quantization !== "none"}
            onChange={change}
          />
        </Section>
      </Stack>
      <div className={classes.sticky}>
        <Section label="What it takes">
          <Stack gap="md">
            <PlanProblem problem={planned.problem} refused={refused} onReload={planned.reload} />
            {refused === null && planned.problem === null && (
              <PlanView
                plan={request === null ? null : plan}
                asked={draft.beginning}
                loading={planned.loading && request !== null && !incompatible}
                empty="Choose a model, a hook point and a text file to see the memory."
              />
            )}
            {failure !== null && <ProblemAlert title="The run was not started" problem={failure.problem} />}
            <Group gap="sm">
              <Button type="submit" loading={busy} disabled={whyNot !== null} aria-describedby="why-not">
                Start training
              </Button>
              <Text size="sm" c="dimmed" id="why-not" className={classes.whyNot}>
                {whyNot}
              </Text>
            </Group>
          </Stack>
        </Section>
      </div>
    </form>
  );
}

interface PlanProblemProps {
  problem: ProblemView | null;
  refused: { problem: ProblemView; fields: FieldErrors } | null;
  onReload: () => void;
}

/** Why there is no plan; what is wrong with one field stands at that field, and here in short. */
function PlanProblem({ problem, refused, onReload }: PlanProblemProps) {
  if (problem !== null)
    return (
      <ProblemAlert title="The memory is not available" problem={problem}>
        <TryAgain onClick={onReload} />
      </ProblemAlert>
    );
  if (refused === null) return null;
  const messages = Object.values(refused.fields);
  if (messages.length === 0)
    return <ProblemAlert title="It cannot run with these settings" problem={refused.problem} />;
  // Only a rule of its own has a hint that says more than its field.
  const hint = messages.length === 1 && messages[0] === refused.problem.message ? refused.problem.hint : null;
  return (
    <ProblemAlert
      title="It cannot run with these settings"
      problem={{
        ...refused.problem,
        message: `Correct the marked ${messages.length === 1 ? "field" : "fields"}.`,
        hint,
      }}
    />
  );
}
