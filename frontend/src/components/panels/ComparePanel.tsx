import { Button, Stack, Text, Title } from "@mantine/core";
import { Link, useSearchParams } from "react-router";
import { useModelList } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { counterpart, stepLabel, summary } from "../../lib/compare";
import { useCompareStore } from "../../stores/compareStore";
import { useModelsStore } from "../../stores/modelsStore";
import type { Comparison, Side } from "../../types/compare";
import type { Model } from "../../types/model";
import { EmptyState } from "../common/EmptyState";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TorchMissing } from "../common/TorchMissing";
import { ComparedText, Legend } from "../compare/ComparedText";
import { CompareForm, SIDE_LABEL } from "../compare/CompareForm";
import classes from "./ComparePanel.module.css";

/** Two models beside each other: `?left=` and `?right=` name them. */
export default function ComparePanel() {
  useTitle("Compare");
  const models = useModelList().filter(({ status, generates_text }) => status === "ready" && generates_text !== false);
  const state = useModelsStore((store) => store.load.state);
  return (
    <div className={classes.page}>
      <Title order={1} mb="md">
        Compare
      </Title>
      <TorchMissing />
      {models.length > 0 ? (
        <Comparing models={models} />
      ) : state === "ready" || state === "error" ? (
        <EmptyState
          title="No model is ready"
          action={
            <Button component={Link} to="/models?view=hub">
              Get a model
            </Button>
          }
        >
          A comparison needs an installed model that generates text.
        </EmptyState>
      ) : (
        <Placeholder h={320} label="Loading the form" />
      )}
    </div>
  );
}

function Comparing({ models }: { models: Model[] }) {
  const [parameters, setParameters] = useSearchParams();
  const { running, step, result, problem, stopped } = useCompareStore();
  const chosen = chosenOf(models, parameters);
  const name = (side: Side) => chosen[side]?.name ?? SIDE_LABEL[side];
  return (
    <Stack gap="md">
      <Section label="What to compare" title={null}>
        <CompareForm
          models={models}
          chosen={chosen}
          onChoose={(side, id) => {
            const other = side === "left" ? "right" : "left";
            const next = new URLSearchParams({ [side]: id });
            if (chosen[other] !== undefined) next.set(other, chosen[other].id);
            setParameters(next, { replace: true });
          }}
        />
        <Text size="sm" c="dimmed" mt="sm" role="status" className="num">
          {running ? (step === null ? "Starting" : `${name(step.side)}: ${stepLabel(step)}`) : stopped ? "Stopped" : ""}
        </Text>
      </Section>
      {problem !== null && <ProblemAlert title="The comparison failed" problem={problem} />}
      {result !== null && <Result result={result} />}
    </Stack>
  );
}

/** The models that the address names; where it names one, the other is what it was made of, or was made of it. */
function chosenOf(models: Model[], parameters: URLSearchParams): Record<Side, Model | undefined> {
  const named = (side: Side) => models.find(({ id }) => id === parameters.get(side));
  const [left, right] = [named("left"), named("right")];
  return {
    left: left ?? (right === undefined ? undefined : counterpart(right, models)),
    right: right ?? (left === undefined ? undefined : counterpart(left, models)),
  };
}

function Result({ result }: { result: Comparison }) {
  return (
    <Section label="Result">
      {summary(result).map((sentence) => (
        <Text key={sentence} className="num">
          {sentence}
        </Text>
      ))}
      <div className={classes.texts}>
        <ComparedText label={SIDE_LABEL.left} side={result.left} />
        <ComparedText label={SIDE_LABEL.right} side={result.right} />
      </div>
      {result.agreement !== null && <Legend />}
    </Section>
  );
}
