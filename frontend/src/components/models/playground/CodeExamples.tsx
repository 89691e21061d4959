import { Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useModelList } from "../../../hooks/useModels";
import { BASE } from "../../../lib/base";
import { isComplete, type Mode, openaiName, requestFor } from "../../../lib/trial";
import { curlCode, openaiCode, transformersCode } from "../../../lib/tryCode";
import type { Trial } from "../../../stores/playgroundStore";
import type { AnswerRequest, Model } from "../../../types/model";
import { CodeBlock } from "../../common/CodeBlock";
import { CopyCode } from "../../common/CopyCode";

const FORMS = [
  { value: "curl", label: "curl" },
  { value: "openai", label: "openai (Python)" },
  { value: "transformers", label: "transformers" },
] as const;
type Form = (typeof FORMS)[number]["value"];

interface Props {
  model: Model;
  trial: Trial;
  mode: Mode;
}

/** The present conversation as a program. */
export function CodeExamples({ model, trial, mode }: Props) {
  const [form, setForm] = useState<Form>("curl");
  const rows = useModelList();
  if (!isComplete(trial.settings))
    return (
      <Text size="sm" c="dimmed">
        A number in the settings is missing.
      </Text>
    );
  const code = codeOf(form, model, presentRequest(openaiName(model, rows), trial, mode));
  return (
    <Stack gap="xs">
      <Group justify="space-between" gap="xs">
        <SegmentedControl
          size="xs"
          aria-label="Code for"
          value={form}
          onChange={(value: Form) => setForm(value)}
          data={[...FORMS]}
        />
        <CopyCode code={code} />
      </Group>
      <CodeBlock label={`Code for ${form}`}>{code}</CodeBlock>
      {form !== "transformers" && (
        <Text size="sm" c="dimmed">
          If the server has a key, set MODELYARD_API_KEY.
        </Text>
      )}
      {form === "transformers" && trial.settings.clamps.length > 0 && (
        <Text size="sm" c="dimmed">
          Without the clamped features, which the server does.
        </Text>
      )}
    </Stack>
  );
}

/** What would be sent now; with nothing in the field, what was sent last, or an example. */
function presentRequest(name: string, { settings, drafts, turns, editing }: Trial, mode: Mode): AnswerRequest {
  const said = mode === "chat" ? turns.chat.slice(0, editing?.turn) : turns.text;
  const last = said.at(-1);
  if (drafts[mode].trim() !== "") return requestFor(name, mode, settings, mode === "chat" ? said : [], drafts[mode]);
  if (last !== undefined) return requestFor(name, mode, settings, said.slice(0, -1), last.asked);
  return requestFor(name, mode, settings, [], mode === "chat" ? "Hello!" : "The capital of France is");
}

function codeOf(form: Form, model: Model, request: AnswerRequest): string {
  const base = new URL("v1", BASE).href;
  if (form === "curl") return curlCode(base, request);
  return form === "openai" ? openaiCode(base, request) : transformersCode(model, request);
}
