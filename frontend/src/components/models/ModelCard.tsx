import { ActionIcon, Button, Menu, Text } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import {
  Ban,
  Code,
  EllipsisVertical,
  ExternalLink,
  Folder,
  Pause,
  Play,
  RotateCcw,
  ShieldCheck,
  Trash2,
} from "lucide-react";
import { memo } from "react";
import { Link } from "react-router";
import { formatBytes, formatCount } from "../../lib/bytes";
import { fromRow } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import { isActive, loadSnippet } from "../../lib/words";
import type { Place } from "../../lib/yard";
import type { Live, Pending } from "../../stores/applyEvents";
import type { Model } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { ProgressLine } from "../common/ProgressLine";
import { MemoryBar } from "./MemoryBar";
import classes from "./ModelCard.module.css";
import { QuantBadge } from "./QuantBadge";
import { RowProblemSteps } from "./RowProblemSteps";
import { StatusPill } from "./StatusPill";

export type CardAction = "pause" | "resume" | "cancel" | "verify" | "delete";

interface Props {
  model: Model;
  live: Live | undefined;
  pending: Pending | undefined;
  /** The device that sets the scale of the memory bar. */
  scale: Place | undefined;
  href: string;
  onAction: (model: Model, action: CardAction) => void;
  onPoint: (model: Model | null) => void;
}

export const ModelCard = memo(function ModelCard({ model, live, pending, scale, href, onAction, onPoint }: Props) {
  const working = isActive(model.status) || live !== undefined;
  return (
    <article
      className={classes.card}
      data-status={model.status}
      aria-label={`${model.name}, ${model.quantization}`}
      onPointerEnter={() => onPoint(model)}
      onPointerLeave={() => onPoint(null)}
      onFocus={() => onPoint(model)}
      onBlur={() => onPoint(null)}
    >
      <header className={classes.head}>
        <h2 className={classes.name}>
          <Link to={href} data-card-link>
            {model.name}
          </Link>
        </h2>
        <QuantBadge quantization={model.quantization} dtype={model.dtype} />
      </header>
      <CopyText text={model.model_id} label="repository id" />
      <p className={`${classes.facts} num`}>
        {facts(model).map((fact) => (
          <span key={fact}>{fact}</span>
        ))}
      </p>

      <Memory model={model} scale={scale} />

      {working ? (
        <ProgressLine model={model} live={live} pending={pending} />
      ) : (
        <>
          {model.error !== null && <RowProblem model={model} />}
          {model.used_by.length > 0 && (
            <p className={classes.used}>In use by {model.used_by.map((use) => use.name).join(", ")}</p>
          )}
        </>
      )}

      <footer className={classes.foot}>
        <StatusPill status={model.status} phase={live?.progress?.phase} pending={pending} />
        <div className={classes.actions}>
          <PrimaryAction model={model} busy={pending !== undefined} onAction={onAction} />
          <CardMenu model={model} busy={pending !== undefined} onAction={onAction} />
        </div>
      </footer>
    </article>
  );
});

/** What the model is, in a few words; what is not known is left out. */
function facts(model: Model): string[] {
  const shape =
    model.num_layers !== null && model.hidden_size !== null ? `${model.num_layers} × ${model.hidden_size}` : null;
  const context = model.max_position_embeddings;
  return [
    model.num_parameters === null ? null : `${formatCount(model.num_parameters)} params`,
    model.architecture ?? model.model_type,
    shape,
    context === null ? null : `${context.toLocaleString("en")} context`,
  ].filter((fact) => fact !== null);
}

function Memory({ model, scale }: { model: Model; scale: Place | undefined }) {
  const measured = model.memory_measured_bytes;
  const bytes = measured ?? model.memory_estimated_bytes;
  return (
    <div className={classes.memory}>
      <dl className={`${classes.figures} num`}>
        <div>
          <dt>Memory</dt>
          <dd>
            {measured === null && model.memory_method === "approximate" && "≈ "}
            {bytes === null ? "unknown" : formatBytes(bytes)}
            {bytes !== null && <span className={classes.how}>{howKnown(model)}</span>}
          </dd>
        </div>
        <div>
          <dt>Disk</dt>
          <dd>{formatBytes(model.disk_bytes)}</dd>
        </div>
      </dl>
      {scale !== undefined && (
        <MemoryBar
          quantization={model.quantization}
          parts={bytes === null ? [] : [{ label: "weights", bytes }]}
          place={scale}
          inside={model.loaded}
        />
      )}
    </div>
  );
}

/** How the memory figure came about; an approximate one has its ≈ before it. */
function howKnown({ memory_measured_bytes, memory_method }: Model): string {
  if (memory_measured_bytes !== null) return "measured";
  return memory_method === "exact" ? "exact" : "estimated";
}

function RowProblem({ model }: { model: Model }) {
  if (model.error === null) return null;
  const { message, hint } = fromRow(model.error);
  return (
    <div className={classes.problem}>
      <Text size="xs" lineClamp={3} title={`${message} ${hint ?? ""}`}>
        {message} {hint}
      </Text>
      <RowProblemSteps model={model} />
    </div>
  );
}

function PrimaryAction({ model, busy, onAction }: { model: Model; busy: boolean; onAction: Props["onAction"] }) {
  const clipboard = useClipboard();
  const button = (label: string, icon: React.ReactNode, action: CardAction) => (
    <Button
      size="compact-sm"
      variant="default"
      leftSection={icon}
      disabled={busy}
      onClick={() => onAction(model, action)}
      aria-label={`${label} ${model.name}`}
    >
      {label}
    </Button>
  );
  switch (model.status) {
    case "pending":
    case "downloading":
      return button("Pause", <Pause size={14} aria-hidden />, "pause");
    case "paused":
      return button("Resume", <Play size={14} aria-hidden />, "resume");
    case "quantizing":
      return button("Cancel", <Ban size={14} aria-hidden />, "cancel");
    case "failed":
      return button("Retry", <RotateCcw size={14} aria-hidden />, "resume");
    case "cancelled":
    case "missing":
      return button("Download again", <RotateCcw size={14} aria-hidden />, "resume");
    case "ready":
      return (
        <Button
          size="compact-sm"
          variant="default"
          leftSection={<Code size={14} aria-hidden />}
          aria-label={`Copy code for ${model.name}`}
          onClick={() => {
            clipboard.copy(loadSnippet(model));
            toastDone("Code copied", "It loads this model with transformers.");
          }}
        >
          Copy code
        </Button>
      );
    case "deleting":
      return null;
  }
}

function CardMenu({ model, busy, onAction }: { model: Model; busy: boolean; onAction: Props["onAction"] }) {
  const clipboard = useClipboard();
  const active = isActive(model.status);
  const path = model.snapshot_path;
  // A Modelyard's own Hub endpoint has files to give, but no pages.
  const hasPage = model.endpoint.startsWith("http") && !model.endpoint.endsWith("/hub");
  const page = hasPage ? `${model.endpoint}/${model.canonical_id}` : null;
  return (
    <Menu position="bottom-end" width={220} transitionProps={{ duration: 80 }}>
      <Menu.Target>
        <ActionIcon aria-label={`More actions for ${model.name}`} size={28}>
          <EllipsisVertical size={16} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item leftSection={<Code size={14} aria-hidden />} onClick={() => clipboard.copy(loadSnippet(model))}>
          Copy code that loads it
        </Menu.Item>
        {path !== null && (
          <Menu.Item leftSection={<Folder size={14} aria-hidden />} onClick={() => clipboard.copy(path)}>
            Copy folder path
          </Menu.Item>
        )}
        {page !== null && (
          <Menu.Item
            leftSection={<ExternalLink size={14} aria-hidden />}
            component="a"
            href={page}
            target="_blank"
            rel="noreferrer"
          >
            Open on the Hub
          </Menu.Item>
        )}
        {model.status === "ready" && (
          <Menu.Item
            leftSection={<ShieldCheck size={14} aria-hidden />}
            disabled={busy}
            onClick={() => onAction(model, "verify")}
          >
            Verify the files
          </Menu.Item>
        )}
        <Menu.Divider role="separator" />
        {active ? (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Ban size={14} aria-hidden />}
            disabled={busy}
            onClick={() => onAction(model, "cancel")}
          >
            Cancel and remove
          </Menu.Item>
        ) : (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Trash2 size={14} aria-hidden />}
            disabled={busy}
            onClick={() => onAction(model, "delete")}
          >
            Delete…
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}
