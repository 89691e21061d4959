import { Button, Group, Kbd, SegmentedControl, Stack, Text, Textarea } from "@mantine/core";
import { Send, Square } from "lucide-react";
import { useEffect, useRef } from "react";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useLive, usePending } from "../../../hooks/useModels";
import { formatBytes, formatSeconds } from "../../../lib/bytes";
import type { ProblemView } from "../../../lib/problems";
import { isActive, loadingLabel, statusLabel, waitsForDisk } from "../../../lib/labels";
import { useModelsStore } from "../../../stores/modelsStore";
import { canSend, type Mode, type Trial, trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Generated, Model, Progress } from "../../../types/model";
import { EmptyState } from "../../common/EmptyState";
import { NumberField } from "../../common/NumberField";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { WorkAction } from "../status/WorkAction";
import classes from "./Playground.module.css";

/** Text from the model, as it comes: the continuation of a text, or a chat. */
export default function Playground({ model }: { model: Model }) {
  const trial = usePlaygroundStore((state) => trialOf(state, model.id));
  const progress = useLive(model.id)?.progress ?? null;
  const { change, stop } = usePlaygroundStore.getState();
  const send = useSend(model.id);
  const ready = canSend(trial);
  const { mode } = trial;
  const missing = missingInputLabel(trial);

  if (model.generates_text === false)
    return (
      <EmptyState title="This model can't generate text">
        {model.architecture} has no language head. Use its hidden states in Python: the Overview tab shows how to load
        it.
      </EmptyState>
    );
  if (model.status !== "ready") return <NotReady model={model} />;
  return (
    <Stack gap="sm">
      <SegmentedControl
        aria-label="What to do"
        value={mode}
        disabled={trial.running}
        onChange={(value: Mode) =>
          change(model.id, { mode: value, turns: [], figures: null, problem: null, stopped: false })
        }
        data={[
          { value: "text", label: "Continue a text" },
          { value: "chat", label: "Chat", disabled: model.has_chat_template === false },
        ]}
      />
      {model.has_chat_template === false && (
        <Text size="sm" c="dimmed">
          Chat is not available: the tokenizer has no chat template.
        </Text>
      )}
      {mode === "chat" && <Transcript model={model} trial={trial} />}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <Stack gap="sm">
          <Textarea
            label={mode === "chat" ? "Message" : "Text to continue"}
            placeholder={mode === "chat" ? "For example: What is a tensor?" : "For example: The capital of France is"}
            autosize
            minRows={3}
            maxRows={12}
            value={trial.draft}
            onChange={(event) => change(model.id, { draft: event.currentTarget.value })}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
              event.preventDefault();
              send();
            }}
          />
          <OptionFields model={model} trial={trial} />
          <Group gap="sm">
            {trial.running ? (
              <Button
                variant="default"
                leftSection={<Square size={14} fill="currentColor" aria-hidden />}
                onClick={(event) => {
                  // The button under the pointer becomes the one that sends.
                  event.preventDefault();
                  stop(model.id);
                }}
              >
                Stop
              </Button>
            ) : (
              <ServerButton type="submit" disabled={!ready} leftSection={<Send size={14} aria-hidden />}>
                {mode === "chat" ? "Send" : "Generate"}
              </ServerButton>
            )}
            {trial.running ? null : missing === null ? (
              <Text size="sm" c="dimmed" visibleFrom="xs">
                <Kbd size="xs">Ctrl</Kbd> <Kbd size="xs">Enter</Kbd>
              </Text>
            ) : (
              <Text size="sm" c="dimmed">
                {missing}
              </Text>
            )}
            {mode === "chat" && trial.turns.length > 0 && !trial.running && (
              <Button
                variant="subtle"
                onClick={() => change(model.id, { turns: [], figures: null, problem: null, stopped: false })}
              >
                New chat
              </Button>
            )}
          </Group>
        </Stack>
      </form>
      {trial.problem !== null && <Problem model={model} trial={trial} problem={trial.problem} />}
      {mode === "text" && <Continuation model={model} trial={trial} />}
      <Text size="sm" c="dimmed" role="status" className="num">
        {stateLabel(model, trial, progress)}
      </Text>
    </Stack>
  );
}

/** Sends what was written, while there is a server to send it to. */
function useSend(id: string): () => void {
  const away = useOfflineReason();
  const { send } = usePlaygroundStore.getState();
  return () => {
    if (away === undefined) void send(id);
  };
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

/** What is still to be given before anything can be sent. */
function missingInputLabel({ mode, draft, options, running }: Trial): string | null {
  if (running) return null;
  if (draft.trim() === "") return mode === "chat" ? "Enter a message" : "Enter a text to continue";
  return Object.values(options).includes("") ? "A number above is missing" : null;
}

function OptionFields({ model, trial: { options } }: { model: Model; trial: Trial }) {
  const { setOptions } = usePlaygroundStore.getState();
  return (
    <div className={classes.fields}>
      <NumberField
        label="Max new tokens"
        min={1}
        max={100_000}
        allowDecimal={false}
        value={options.maxNewTokens}
        onChange={(value) => setOptions(model.id, { maxNewTokens: value })}
      />
      <NumberField
        label="Temperature"
        description="0: always the most likely token"
        min={0}
        max={10}
        step={0.1}
        decimalScale={2}
        value={options.temperature}
        onChange={(value) => setOptions(model.id, { temperature: value })}
      />
      <NumberField
        label="Seed"
        description={options.temperature === 0 ? "no effect at temperature 0" : undefined}
        min={0}
        max={Number.MAX_SAFE_INTEGER}
        allowDecimal={false}
        value={options.seed}
        onChange={(value) => setOptions(model.id, { seed: value })}
      />
    </div>
  );
}

/** The last text with what the model made of it; long ones follow their end while they grow. */
function Continuation({ model, trial }: { model: Model; trial: Trial }) {
  const turn = trial.turns[0];
  const box = useFollowedEnd(turn?.answer ?? "", trial.running);
  if (turn === undefined) return null;
  return (
    <div ref={box} className={classes.output} role="region" aria-label={`Text from ${model.name}`} tabIndex={0}>
      <span className={classes.asked}>{turn.asked}</span>
      <span className={classes.answer}>{turn.answer}</span>
    </div>
  );
}

function Transcript({ model, trial }: { model: Model; trial: Trial }) {
  const box = useFollowedEnd(trial.turns.at(-1)?.answer ?? "", trial.running);
  if (trial.turns.length === 0) return null;
  return (
    <div ref={box} className={classes.output} role="region" aria-label={`Chat with ${model.name}`} tabIndex={0}>
      {trial.turns.map((turn, index) => (
        <div key={index} className={classes.turn}>
          <div className={classes.who}>You</div>
          <div>{turn.asked}</div>
          <div className={classes.who}>{model.name}</div>
          <div className={classes.answer}>{turn.answer}</div>
        </div>
      ))}
    </div>
  );
}

function useFollowedEnd(text: string, running: boolean) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (running && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [text, running]);
  return box;
}

function Problem({ model, trial, problem }: { model: Model; trial: Trial; problem: ProblemView }) {
  const { change } = usePlaygroundStore.getState();
  const send = useSend(model.id);
  if (problem.code === "no_tokenizer")
    return (
      <ProblemAlert title="This model can't generate text" problem={problem}>
        <Text size="sm">You can load it in Python and pass token ids.</Text>
      </ProblemAlert>
    );
  const template = trial.mode === "chat" && problem.code === "invalid_request";
  return (
    <ProblemAlert title={template ? "Chat is not available" : "The generation failed"} problem={problem}>
      {template ? (
        <ServerButton
          size="compact-sm"
          variant="default"
          onClick={() => {
            change(model.id, { mode: "text", turns: [], problem: null });
            send();
          }}
        >
          Continue it as text
        </ServerButton>
      ) : (
        <ServerButton size="compact-sm" variant="default" disabled={!canSend(trial)} onClick={send}>
          Try again
        </ServerButton>
      )}
    </ProblemAlert>
  );
}

/** What goes on, or how it ended, for eyes and for assistive technology. */
function stateLabel(model: Model, trial: Trial, progress: Progress | null): string {
  if (trial.running) {
    if (trial.turns.at(-1)?.answer !== "") return "Generating";
    if (model.loaded) return "Waiting for the first token";
    return progress?.phase === "loading" ? loadingLabel(progress) : "Loading the model";
  }
  if (trial.stopped) return "Stopped";
  if (trial.figures !== null) return formatFigures(trial.figures);
  if (trial.problem !== null || model.loaded) return "";
  return `The model is loaded first${formatNeed(model)}.`;
}

function formatNeed({ memory_measured_bytes: measured, memory_estimated_bytes: weights }: Model): string {
  if (measured !== null) return `: ${formatBytes(measured)} measured`;
  return weights === null ? "" : `: ${formatBytes(weights)} of weights`;
}

const ENDED: Record<Generated["finish_reason"], string> = {
  stop: "finished",
  length: "stopped at the token limit",
  cancelled: "stopped",
};

function formatFigures({ new_tokens, tokens_per_second, load_seconds, finish_reason }: Generated): string {
  return [
    new_tokens === 1 ? "1 token" : `${new_tokens.toLocaleString("en")} tokens`,
    `${tokens_per_second.toFixed(1)} tokens/s`,
    load_seconds > 0 ? `loaded in ${formatSeconds(load_seconds)}` : "already loaded",
    ENDED[finish_reason],
  ].join(" · ");
}
