import { List, NativeSelect, Stack, Text } from "@mantine/core";
import { CheckCircle2 } from "lucide-react";
import type { Resource } from "../../hooks/useResource";
import { KIND_LABEL, formatShape } from "../../lib/hooks";
import { choicesOf, compatibilityLabel, kindsOf, pointFor, reasonSentences } from "../../lib/training";
import { sentence } from "../../lib/labels";
import type { HookKind, HookPoint } from "../../types/model";
import type { TrainingCompatibility } from "../../types/training";
import { Fields } from "../common/Fields";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import classes from "./HookFields.module.css";

interface Props {
  answer: Resource<TrainingCompatibility>;
  point: HookPoint | undefined;
  error: string | undefined;
  onChange: (path: string) => void;
}

/** Where in the model to train. The width comes from the model, so it is shown and never asked for. */
export function HookFields({ answer, point, error, onChange }: Props) {
  if (answer.problem !== null)
    return (
      <ProblemAlert title="Could not check the model" problem={answer.problem}>
        <TryAgain onClick={answer.reload} />
      </ProblemAlert>
    );
  if (answer.data === null) return <Placeholder h={64} label="Inspecting the model, which takes a few seconds once" />;
  const { data } = answer;
  const points = data.hook_points;
  return (
    <Stack gap="sm">
      <Verdict answer={data} />
      {point !== undefined && (
        <>
          <Fields>
            <NativeSelect
              label="Kind of hook point"
              value={point.kind}
              onChange={(event) => {
                const next = pointFor(points, event.currentTarget.value as HookKind, point.layer);
                if (next !== undefined) onChange(next.path);
              }}
              data={kindsOf(points).map((kind) => ({ value: kind, label: sentence(KIND_LABEL[kind]) }))}
            />
            <NativeSelect
              label="Layer"
              value={point.path}
              error={error}
              onChange={(event) => onChange(event.currentTarget.value)}
              data={choicesOf(points, point.kind)}
            />
          </Fields>
          <Text size="sm" c="dimmed" className={`${classes.note} num`}>
            <span className="mono">{point.path}</span> gives {formatShape(point.shape)}, so{" "}
            <strong>d_in is {point.width.toLocaleString("en")}</strong>
            {point.transformer_lens !== null && (
              <>
                ; in TransformerLens <span className="mono">{point.transformer_lens}</span>
              </>
            )}
          </Text>
        </>
      )}
    </Stack>
  );
}

function Verdict({ answer }: { answer: TrainingCompatibility }) {
  const words = compatibilityLabel(answer);
  const reasons = reasonSentences(answer.reasons);
  if (answer.compatible === true)
    return (
      <Text size="sm" c="var(--y-good)">
        <CheckCircle2 size={14} aria-hidden style={{ verticalAlign: "-2px" }} /> {words}
        {reasons.length > 0 && `. ${reasons.join(" ")}`}
      </Text>
    );
  const no = answer.compatible === false;
  return (
    <ProblemAlert
      title={words}
      tone={no ? "bad" : "warn"}
      problem={{
        code: answer.reasons[0]?.code ?? "",
        message: reasons.length === 1 ? (reasons[0] ?? "") : "",
        hint: no
          ? "Choose another model."
          : answer.hook_points.length > 0
            ? "It may still work: the run checks it in its first seconds, before it trains."
            : null,
      }}
    >
      {reasons.length > 1 && (
        <List size="sm">
          {reasons.map((reason) => (
            <List.Item key={reason}>{reason}</List.Item>
          ))}
        </List>
      )}
    </ProblemAlert>
  );
}
