import { ActionIcon, Text, Tooltip, VisuallyHidden } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { Check, ChartNoAxesColumn, Copy, Pencil, RotateCcw, Type } from "lucide-react";
import { type ReactNode, Suspense, useState } from "react";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import { useLive } from "../../../hooks/useModels";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { formatSeconds, fraction } from "../../../lib/bytes";
import { loadingLabel } from "../../../lib/labels";
import type { Figures, Mode, Turn } from "../../../lib/trial";
import { type Trial, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model, Progress } from "../../../types/model";
import classes from "./Conversation.module.css";
import { Tokens } from "./Tokens";

const Markdown = lazyWithRetry(() => import("./Markdown"));

interface ConversationProps {
  model: Model;
  trial: Trial;
  onEdit: (turn: number) => void;
}

/** What was said so far, and what can be done with it. */
export function Conversation({ model, trial, onEdit }: ConversationProps) {
  const turns = trial.turns.chat;
  if (turns.length === 0) return null;
  return (
    <div role="region" aria-label={`Chat with ${model.name}`} className={classes.conversation}>
      {turns.map((turn, index) => (
        <div
          key={index}
          className={classes.turn}
          data-replaced={index >= (trial.editing?.turn ?? Infinity) || undefined}
        >
          <div className={classes.question}>
            <Action label="Edit the message" disabled={trial.running} onClick={() => onEdit(index)}>
              <Pencil size={14} aria-hidden />
            </Action>
            <div className={classes.asked}>
              <VisuallyHidden>You: </VisuallyHidden>
              {turn.asked}
            </div>
          </div>
          <Answer model={model} turn={turn} mode="chat" running={trial.running} isLast={index === turns.length - 1} />
        </div>
      ))}
    </div>
  );
}

/** The last text with what the model made of it. */
export function Continuation({ model, trial }: { model: Model; trial: Trial }) {
  const turn = trial.turns.text.at(-1);
  if (turn === undefined) return null;
  return (
    <div role="region" aria-label={`Text from ${model.name}`}>
      <Answer model={model} turn={turn} mode="text" running={trial.running} isLast />
    </div>
  );
}

interface AnswerProps {
  model: Model;
  turn: Turn;
  mode: Mode;
  running: boolean;
  isLast: boolean;
}

/** What the model wrote, how it went, and what can be done with it. */
function Answer({ model, turn, mode, running, isLast }: AnswerProps) {
  const [asText, setAsText] = useState(false);
  const clipboard = useClipboard({ timeout: 1500 });
  const away = useOfflineReason();
  const { regenerate } = usePlaygroundStore.getState();
  const asTokens = turn.tokens.length > 0 && !asText;
  const writes = isLast && running;
  return (
    <>
      {mode === "text" ? (
        <div className={classes.output}>
          <span className={classes.prompt}>{turn.asked}</span>
          {asTokens ? <Tokens tokens={turn.tokens} /> : turn.answer}
        </div>
      ) : asTokens ? (
        <div className={classes.output}>
          <VisuallyHidden>{model.name}: </VisuallyHidden>
          <Tokens tokens={turn.tokens} />
        </div>
      ) : (
        <div className={classes.answer}>
          <VisuallyHidden>{model.name}: </VisuallyHidden>
          <Suspense fallback={<div className={classes.plain}>{turn.answer}</div>}>
            <Markdown text={turn.answer} />
          </Suspense>
        </div>
      )}
      <div className={classes.footer}>
        <Text size="sm" c="dimmed" className="num" role={isLast ? "status" : undefined}>
          {writes ? <State model={model} begun={turn.answer !== ""} /> : formatFigures(turn)}
        </Text>
        {!writes && (
          <div className={classes.actions}>
            {turn.tokens.length > 0 && (
              <Action label={asText ? "Show token probabilities" : "Show as text"} onClick={() => setAsText(!asText)}>
                {asText ? <ChartNoAxesColumn size={14} aria-hidden /> : <Type size={14} aria-hidden />}
              </Action>
            )}
            <Action
              label={clipboard.copied ? "Copied" : mode === "chat" ? "Copy the answer" : "Copy the text"}
              onClick={() => clipboard.copy(mode === "chat" ? turn.answer : turn.asked + turn.answer)}
            >
              {clipboard.copied ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />}
            </Action>
            {isLast && (
              <Action
                label={away ?? "Regenerate"}
                disabled={away !== undefined || running}
                onClick={() => void regenerate(model.id, mode)}
              >
                <RotateCcw size={14} aria-hidden />
              </Action>
            )}
          </div>
        )}
      </div>
    </>
  );
}

interface ActionProps {
  label: string;
  disabled?: boolean;
  onClick: () => void;
  children: ReactNode;
}

function Action({ label, disabled = false, onClick, children }: ActionProps) {
  return (
    <Tooltip label={label}>
      <ActionIcon size={28} className={classes.action} aria-label={label} disabled={disabled} onClick={onClick}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}

/** What goes on, for eyes and for assistive technology. */
function State({ model, begun }: { model: Model; begun: boolean }) {
  const progress = useLive(model.id)?.progress ?? null;
  return begun ? "Generating" : waitLabel(model, progress);
}

/** What comes before the first token. */
function waitLabel(model: Model, progress: Progress | null): string {
  if (progress?.phase === "loading") {
    const share = fraction(progress.bytes_done, progress.bytes_total);
    return share === null ? loadingLabel(progress) : `${loadingLabel(progress)}, ${Math.floor(share * 100)} %`;
  }
  return model.loaded ? "Waiting for the first token" : "Loading the model";
}

const ENDED: Record<Figures["ended"], string> = {
  stop: "finished",
  length: "token limit reached",
  stopped: "stopped",
  failed: "interrupted",
};

function formatFigures({ figures }: Turn): string {
  // The page was left while it was written.
  if (figures === null) return ENDED.stopped;
  const { newTokens, tokensPerSecond, firstTokenSeconds, ended } = figures;
  return [
    newTokens === null ? "" : newTokens === 1 ? "1 token" : `${newTokens.toLocaleString("en")} tokens`,
    tokensPerSecond === null ? "" : `${tokensPerSecond.toFixed(1)} tokens/s`,
    firstTokenSeconds === null ? "" : `first token after ${formatSeconds(firstTokenSeconds)}`,
    ENDED[ended],
  ]
    .filter(Boolean)
    .join(" · ");
}
