import { Button, Group, Kbd, SegmentedControl, Select, Stack, Text, Textarea } from "@mantine/core";
import { Columns2, Square } from "lucide-react";
import { useOfflineReason } from "../../hooks/useOfflineReason";
import { useTorchReason } from "../../hooks/useTorchReason";
import { precisionLabel } from "../../lib/labels";
import { canCompare, useCompareStore } from "../../stores/compareStore";
import type { Side } from "../../types/compare";
import type { Model } from "../../types/model";
import { NumberField } from "../common/NumberField";
import { ServerButton } from "../common/ServerButton";
import classes from "./CompareForm.module.css";

interface Props {
  /** Those that can be compared. */
  models: Model[];
  chosen: Record<Side, Model | undefined>;
  onChoose: (side: Side, id: string) => void;
}

export const SIDE_LABEL: Record<Side, string> = { left: "Left model", right: "Right model" };

/** Two models and what both are asked. */
export function CompareForm({ models, chosen, onChoose }: Props) {
  const { prompt, chat, maxNewTokens, running, change, run, stop } = useCompareStore();
  const away = useOfflineReason();
  const torch = useTorchReason();
  const { left, right } = chosen;
  const noChat = [left, right].filter((model) => model?.has_chat_template === false);
  const asksChat = chat && noChat.length === 0;
  const missing = missingLabel();

  function missingLabel(): string | null {
    if (left === undefined || right === undefined) return "Choose two models";
    if (prompt.trim() === "") return asksChat ? "Enter a message" : "Enter a text to continue";
    return maxNewTokens === "" ? "A number above is missing" : null;
  }

  function send() {
    if (away !== undefined || torch !== undefined || left === undefined || right === undefined) return;
    change({ chat: asksChat });
    void run({ left: left.id, right: right.id });
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <Stack gap="sm">
        <div className={classes.models}>
          {(["left", "right"] as const).map((side) => (
            <ModelChoice
              key={side}
              label={SIDE_LABEL[side]}
              models={models}
              value={chosen[side]?.id ?? null}
              onChange={(id) => onChoose(side, id)}
            />
          ))}
        </div>
        <SegmentedControl
          aria-label="What to do"
          value={asksChat ? "chat" : "text"}
          disabled={running}
          onChange={(value) => change({ chat: value === "chat" })}
          data={[
            { value: "text", label: "Continue a text" },
            { value: "chat", label: "Chat", disabled: noChat.length > 0 },
          ]}
        />
        {noChat[0] !== undefined && (
          <Text size="sm" c="dimmed">
            Chat is not available: {noChat[0].name} has no chat template.
          </Text>
        )}
        <Textarea
          label={asksChat ? "Message" : "Text to continue"}
          placeholder={asksChat ? "For example: What is a tensor?" : "For example: The capital of France is"}
          autosize
          minRows={3}
          maxRows={12}
          value={prompt}
          onChange={(event) => change({ prompt: event.currentTarget.value })}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
            event.preventDefault();
            send();
          }}
        />
        <NumberField
          label="Max new tokens"
          description="Both models always take the most likely token."
          className={classes.number}
          min={1}
          max={100_000}
          allowDecimal={false}
          value={maxNewTokens}
          onChange={(value) => change({ maxNewTokens: value })}
        />
        <Group gap="sm">
          {running ? (
            <Button
              variant="default"
              leftSection={<Square size={14} fill="currentColor" aria-hidden />}
              onClick={(event) => {
                // The button under the pointer becomes the one that sends.
                event.preventDefault();
                stop();
              }}
            >
              Stop
            </Button>
          ) : (
            <ServerButton
              type="submit"
              why={torch}
              disabled={missing !== null || !canCompare({ prompt, chat, maxNewTokens })}
              leftSection={<Columns2 size={14} aria-hidden />}
            >
              Compare
            </ServerButton>
          )}
          {running ? null : missing === null ? (
            <Text size="sm" c="dimmed" visibleFrom="xs">
              <Kbd size="xs">Ctrl</Kbd> <Kbd size="xs">Enter</Kbd>
            </Text>
          ) : (
            <Text size="sm" c="dimmed">
              {missing}
            </Text>
          )}
        </Group>
      </Stack>
    </form>
  );
}

interface ChoiceProps {
  label: string;
  models: Model[];
  value: string | null;
  onChange: (id: string) => void;
}

function ModelChoice({ label, models, value, onChange }: ChoiceProps) {
  return (
    <Select
      label={label}
      placeholder="Choose a model that is ready"
      searchable
      allowDeselect={false}
      nothingFoundMessage="No ready model has this name"
      data={optionsOf(models)}
      value={value}
      onChange={(id) => {
        if (id !== null) onChange(id);
      }}
      comboboxProps={{ transitionProps: { duration: 0 } }}
    />
  );
}

/** Names with precision, and with the commit where there are several of a name. */
function optionsOf(models: Model[]): { value: string; label: string }[] {
  const labels = models.map((model) => `${model.model_id}, ${precisionLabel(model).toLowerCase()}`);
  return models.map(({ id, commit }, index) => {
    const label = labels[index] ?? id;
    const alone = labels.filter((other) => other === label).length === 1;
    return { value: id, label: alone ? label : `${label}, ${commit.slice(0, 8)}` };
  });
}
