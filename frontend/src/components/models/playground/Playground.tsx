import { Button, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { ChevronDown, ChevronUp, Code, SlidersHorizontal, SquarePen } from "lucide-react";
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { usePending } from "../../../hooks/useModels";
import { formatBytes } from "../../../lib/bytes";
import { isActive, statusLabel, waitsForDisk } from "../../../lib/labels";
import { type Mode, suggestedMode } from "../../../lib/trial";
import { useModelsStore } from "../../../stores/modelsStore";
import { type Trial, trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model } from "../../../types/model";
import { EmptyState } from "../../common/EmptyState";
import { WorkAction } from "../status/WorkAction";
import { AnswerProblem } from "./AnswerProblem";
import { Clamps } from "./Clamps";
import { CodeExamples } from "./CodeExamples";
import { Composer } from "./Composer";
import { Continuation, Conversation } from "./Conversation";
import classes from "./Playground.module.css";
import { SettingsFields } from "./SettingsFields";
import { useFollowedEnd } from "./useFollowedEnd";

/** Text from the model, as it comes: a chat, or the continuation of a text. */
export default function Playground({ model }: { model: Model }) {
  if (model.generates_text === false)
    return (
      <EmptyState title="This model can't generate text">
        {model.architecture} has no language head. Use its hidden states in Python: the Overview tab shows how to load
        it.
      </EmptyState>
    );
  if (model.status !== "ready") return <NotReady model={model} />;
  return <Ready model={model} />;
}

function NotReady({ model }: { model: Model }) {
  const act = useModelsStore((state) => state.act);
  const busy = usePending(model.id) !== undefined;
  // What moves already, or cannot move yet, needs nothing.
  const stopped = (model.status === "paused" && !waitsForDisk(model)) || !isActive(model.status);
  return (
    <EmptyState
      title="This model is not ready yet"
      action={stopped && <WorkAction model={model} busy={busy} onAction={({ id }, action) => void act(id, action)} />}
    >
      Status: {statusLabel(model).toLowerCase()}.
    </EmptyState>
  );
}

function Ready({ model }: { model: Model }) {
  const trial = usePlaygroundStore((state) => trialOf(state, model.id));
  const field = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => usePlaygroundStore.getState().recall(model.id), [model.id]);
  const mode = model.has_chat_template === false ? "text" : (trial.mode ?? suggestedMode(model));
  const turns = trial.turns[mode];
  const end = useFollowedEnd(turns.at(-1)?.answer ?? "", trial.running);
  return (
    <Stack gap="md">
      <Head model={model} trial={trial} mode={mode} onNew={() => field.current?.focus()} />
      {mode === "chat" ? (
        <Conversation
          model={model}
          trial={trial}
          onEdit={(turn) => {
            usePlaygroundStore.getState().edit(model.id, turn);
            field.current?.focus();
          }}
        />
      ) : (
        <Continuation model={model} trial={trial} />
      )}
      {trial.problem !== null && <AnswerProblem model={model} trial={trial} mode={mode} problem={trial.problem} />}
      <Hint model={model} trial={trial} empty={turns.length === 0} />
      <div ref={end} className={classes.composer}>
        <Clamps id={model.id} clamps={trial.settings.clamps} />
        <Composer model={model} trial={trial} mode={mode} field={field} />
      </div>
    </Stack>
  );
}

/** What is shown where no answer is: that it was stopped before one, or what comes before the first. */
function Hint({ model, trial, empty }: { model: Model; trial: Trial; empty: boolean }) {
  const words = trial.running
    ? ""
    : trial.stopped
      ? "Stopped"
      : empty && trial.problem === null && !model.loaded
        ? `The model is loaded first${formatNeed(model)}.`
        : "";
  return (
    <Text size="sm" c="dimmed" role="status" className={words === "" ? classes.silent : "num"}>
      {words}
    </Text>
  );
}

function formatNeed({ memory_measured_bytes: measured, memory_estimated_bytes: weights }: Model): string {
  if (measured !== null) return `: ${formatBytes(measured)} measured`;
  return weights === null ? "" : `: ${formatBytes(weights)} of weights`;
}

interface HeadProps {
  model: Model;
  trial: Trial;
  mode: Mode;
  onNew: () => void;
}

/** What to do, and what is folded away: settings, and the same in code. */
function Head({ model, trial, mode, onNew }: HeadProps) {
  const { setMode, clear } = usePlaygroundStore.getState();
  const [opened, setOpened] = useState<"settings" | "code" | null>(null);
  const toggle = (part: "settings" | "code") => setOpened(opened === part ? null : part);
  return (
    <div>
      <Group justify="space-between" gap="xs">
        <SegmentedControl
          aria-label="What to do"
          size="xs"
          value={mode}
          disabled={trial.running}
          onChange={(value: Mode) => setMode(model.id, value)}
          data={[
            { value: "chat", label: "Chat", disabled: model.has_chat_template === false },
            { value: "text", label: "Continue a text" },
          ]}
        />
        <Group gap={4}>
          {trial.turns[mode].length > 0 && !trial.running && (
            <Button
              size="compact-sm"
              variant="subtle"
              leftSection={<SquarePen size={14} aria-hidden />}
              onClick={() => {
                clear(model.id, mode);
                onNew();
              }}
            >
              {mode === "chat" ? "New chat" : "Clear"}
            </Button>
          )}
          <Fold
            icon={<SlidersHorizontal size={14} aria-hidden />}
            opened={opened === "settings"}
            onToggle={() => toggle("settings")}
          >
            Settings
          </Fold>
          <Fold icon={<Code size={14} aria-hidden />} opened={opened === "code"} onToggle={() => toggle("code")}>
            Code
          </Fold>
        </Group>
      </Group>
      {model.has_chat_template === false && (
        <Text size="sm" c="dimmed" mt="xs">
          Chat is not available: the tokenizer has no chat template.
        </Text>
      )}
      {opened !== null && (
        <div className={classes.folded}>
          {opened === "settings" ? (
            <SettingsFields id={model.id} settings={trial.settings} mode={mode} />
          ) : (
            <CodeExamples model={model} trial={trial} mode={mode} />
          )}
        </div>
      )}
    </div>
  );
}

interface FoldProps {
  icon: ReactNode;
  opened: boolean;
  onToggle: () => void;
  children: string;
}

function Fold({ icon, opened, onToggle, children }: FoldProps) {
  const Chevron = opened ? ChevronUp : ChevronDown;
  return (
    <Button
      size="compact-sm"
      variant="subtle"
      leftSection={icon}
      rightSection={<Chevron size={14} aria-hidden />}
      aria-expanded={opened}
      onClick={onToggle}
    >
      {children}
    </Button>
  );
}
