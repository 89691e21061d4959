import { ActionIcon, Button, Checkbox, Menu, Text, VisuallyHidden } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import {
  ArrowUpCircle,
  ArrowUpFromLine,
  Ban,
  BrainCircuit,
  Code,
  EllipsisVertical,
  ExternalLink,
  Folder,
  MemoryStick,
  MessageSquareText,
  Play,
  ShieldCheck,
  Shrink,
  Square,
  Trash2,
  TriangleAlert,
} from "lucide-react";
import { memo, useRef } from "react";
import { Link } from "react-router";
import type { ModelAction } from "../../api/models";
import { useOfflineReason } from "../../hooks/useOfflineReason";
import { formatDisk, formatBytes, formatCount } from "../../lib/bytes";
import { formatGap, takesMore, formatUnload } from "../../lib/measured";
import { problemOf } from "../../lib/problems";
import { isActive, loadSnippet, loadState, QUANTIZATION_LABEL, sentence, waitsForDisk } from "../../lib/labels";
import type { Place } from "../../lib/yard";
import type { Live, Pending } from "../../types/feed";
import type { Device, Model } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { ProgressLine } from "../common/ProgressLine";
import { FitLabel } from "../common/VerdictLabel";
import { MemoryBar } from "./memory/MemoryBar";
import { ModelBadges } from "./card/ModelBadges";
import classes from "./ModelCard.module.css";
import { PrecisionBadge } from "../common/PrecisionBadge";
import { ErrorActions } from "./status/ErrorActions";
import { StatusPill } from "./status/StatusPill";
import { WorkAction } from "./status/WorkAction";

export type CardAction = ModelAction | "quantize-4bit" | "quantize-8bit" | "delete" | "drop-original";

interface Props {
  model: Model;
  live: Live | undefined;
  pending: Pending | undefined;
  /** The device that sets the scale of the memory bar. */
  scale: Place | undefined;
  /** Where it may fit; not known yet while undefined. */
  devices: Device[] | undefined;
  href: string;
  onAction: (model: Model, action: CardAction) => void;
  onPoint: (model: Model | null) => void;
  /** While several are chosen: whether this one is; left out otherwise. */
  selected?: boolean | undefined;
  onSelect?: ((model: Model, selected: boolean) => void) | undefined;
}

export const ModelCard = memo(function ModelCard(props: Props) {
  const { model, live, pending, scale, devices, href, onAction, onPoint, selected, onSelect } = props;
  const working = isActive(model.status) || live !== undefined;
  return (
    <article
      className={classes.card}
      data-status={model.status}
      data-selected={selected || undefined}
      aria-label={`${model.name}, ${model.quantization}`}
      onPointerEnter={() => onPoint(model)}
      onPointerLeave={() => onPoint(null)}
      onFocus={() => onPoint(model)}
      onBlur={() => onPoint(null)}
    >
      <header className={classes.head}>
        {selected !== undefined && (
          <Checkbox
            aria-label={`Select ${model.name}, ${QUANTIZATION_LABEL[model.quantization].toLowerCase()}`}
            checked={selected}
            onChange={(event) => onSelect?.(model, event.currentTarget.checked)}
          />
        )}
        <h2 className={classes.name}>
          <Link to={href} data-card-link>
            {model.name}
          </Link>
        </h2>
        <PrecisionBadge quantization={model.quantization} dtype={model.dtype} />
      </header>
      <CopyText text={model.model_id} label="repository id" />
      <p className={`${classes.facts} num`}>
        {facts(model).map((fact) => (
          <span key={fact}>{fact}</span>
        ))}
      </p>

      <ModelBadges model={model} filesHref={tabOf(href, "files")} />
      <Memory model={model} scale={scale} devices={devices} />

      {working && <ProgressLine model={model} live={live} pending={pending} />}
      {pending === undefined && <RowProblem model={model} onAction={onAction} />}
      {!working && <Uses model={model} />}

      <footer className={classes.foot}>
        <StatusPill status={model.status} error={model.error} progress={live?.progress} pending={pending} />
        <div className={classes.actions}>
          <PrimaryAction model={model} live={live} href={href} busy={pending !== undefined} onAction={onAction} />
          <CardMenu model={model} href={href} busy={pending !== undefined} onAction={onAction} />
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
    model.num_parameters === null ? null : `${formatCount(model.num_parameters)} parameters`,
    model.architecture ?? model.model_type,
    shape,
    context === null ? null : `${context.toLocaleString("en")} context`,
    model.licence,
  ].filter((fact) => fact !== null);
}

/** Where it is loaded and who else needs it; once it is unloaded, what that gave back. */
function Uses({ model }: { model: Model }) {
  const loaded = model.used_by.filter((use) => use.kind === "loaded");
  const others = model.used_by.filter((use) => use.kind !== "loaded");
  return (
    <>
      {loaded.map((use) => (
        <p key={use.id + use.name} className={classes.used} data-loaded>
          {sentence(use.name)}
        </p>
      ))}
      {others.map((use) => (
        <p key={use.id} className={classes.used}>
          {use.kind === "training" ? <Link to={`/training/${use.id}`}>{sentence(use.name)}</Link> : sentence(use.name)}
        </p>
      ))}
      {loaded.length === 0 && model.last_unload !== null && (
        <p className={`${classes.used} num`}>Unloaded: {formatUnload(model.last_unload)}</p>
      )}
    </>
  );
}

function Memory({ model, scale, devices }: Pick<Props, "model" | "scale" | "devices">) {
  const { memory_measured_bytes: measured, memory_estimated_bytes: estimate } = model;
  const bytes = measured ?? estimate;
  const about = model.memory_method === "approximate" ? "≈ " : "";
  const how = howKnown(model);
  // Whether it fits is no question any more.
  const leaving = model.status === "deleting";
  const gap = formatGap(model, `the ${about}${formatBytes(estimate)} estimated`);
  return (
    <div className={classes.memory}>
      <dl className={`${classes.figures} num`}>
        <div>
          <dt>Memory</dt>
          <dd>
            {measured === null && about}
            {bytes === null ? "unknown" : formatBytes(bytes)}
            {bytes !== null && how !== null && <span className={classes.how}>{how}</span>}
          </dd>
        </div>
        {/* What is there already while it comes or goes, the line below says as it changes. */}
        {!isActive(model.status) && (
          <div>
            <dt>Disk</dt>
            <dd>{formatDisk(model)}</dd>
          </div>
        )}
        {/* What is loaded stands there already. */}
        {/* Room in memory is no good news while the disk has none. */}
        {!model.loaded && !leaving && !waitsForDisk(model) && bytes !== null && devices !== undefined && (
          <div className={classes.fit}>
            <dt>
              <VisuallyHidden>Fit</VisuallyHidden>
            </dt>
            <dd>
              <FitLabel bytes={bytes} devices={devices} />
            </dd>
          </div>
        )}
      </dl>
      {gap !== null && (
        <p className={`${classes.gap} num`} data-more={takesMore(model) || undefined}>
          {takesMore(model) && <TriangleAlert size={14} aria-hidden />}
          It takes {gap}
        </p>
      )}
      {scale !== undefined && !leaving && (
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

/** How the memory figure came about; of an approximate one its ≈ says it. */
function howKnown({ memory_measured_bytes, memory_method }: Model): string | null {
  if (memory_measured_bytes !== null) return "measured";
  if (memory_method === "approximate") return null;
  return memory_method === "exact" ? "exact" : "estimated";
}

function RowProblem({ model, onAction }: Pick<ActionProps, "model" | "onAction">) {
  const problem = problemOf(model);
  if (problem === null) return null;
  const { message, hint } = problem;
  return (
    <div className={classes.problem} data-waits={waitsForDisk(model) || undefined}>
      <Text size="xs" lineClamp={3} title={message}>
        {message}
      </Text>
      {hint !== null && <Text size="xs">{hint}</Text>}
      <div className={classes.steps}>
        <ErrorActions model={model} onQuantize={() => onAction(model, "quantize-4bit")} />
      </div>
    </div>
  );
}

interface ActionProps {
  model: Model;
  busy: boolean;
  onAction: Props["onAction"];
}

function PrimaryAction({ model, live, href, busy, onAction }: ActionProps & Pick<Props, "live" | "href">) {
  const away = useOfflineReason();
  // There is no room to go on; the steps that make some stand above, and the menu still has it.
  if (waitsForDisk(model)) return null;
  if (model.status !== "ready") return <WorkAction model={model} busy={busy} onAction={onAction} />;
  const loading = loadState(live?.progress);
  if (loading === null && model.loaded)
    return (
      <Button
        size="compact-sm"
        variant="default"
        leftSection={<MessageSquareText size={14} aria-hidden />}
        component={Link}
        to={tabOf(href, "try")}
        aria-label={`Try it: ${model.name}`}
      >
        Try it
      </Button>
    );
  const label = loading === null ? "Load" : "Stop loading";
  return (
    <Button
      size="compact-sm"
      variant="default"
      leftSection={loading === null ? <MemoryStick size={14} aria-hidden /> : <Square size={14} aria-hidden />}
      disabled={busy || loading === "stopping" || (away !== undefined && loading === null)}
      title={loading === null ? away : undefined}
      onClick={() => onAction(model, loading === null ? "load" : "cancel")}
      aria-label={`${label} ${model.name}`}
    >
      {label}
    </Button>
  );
}

function tabOf(href: string, tab: string): string {
  const [path = "", search] = href.split("?");
  const parameters = new URLSearchParams(search);
  parameters.set("tab", tab);
  return `${path}?${parameters.toString()}`;
}

function CardMenu({ model, href, busy, onAction: onChosen }: ActionProps & Pick<Props, "href">) {
  const button = useRef<HTMLButtonElement>(null);
  const clipboard = useClipboard();
  const away = useOfflineReason();
  const active = isActive(model.status);
  const path = model.snapshot_path;
  // A Modelyard's own Hub endpoint has files to give, but no pages.
  const hasPage = model.endpoint.startsWith("http") && !model.endpoint.endsWith("/hub");
  const page = hasPage ? `${model.endpoint}/${model.canonical_id}` : null;
  // The item is gone when a dialogue gives the focus back, so the dialogue has to find the button focused.
  const onAction: ActionProps["onAction"] = (...chosen) => {
    button.current?.focus();
    onChosen(...chosen);
  };
  return (
    <Menu position="bottom-end" width={220} transitionProps={{ duration: 80 }}>
      <Menu.Target>
        <ActionIcon ref={button} aria-label={`More actions for ${model.name}`} size={28}>
          <EllipsisVertical size={16} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {model.update_available === true && (
          <Menu.Item component={Link} to={tabOf(href, "files")} leftSection={<ArrowUpCircle size={14} aria-hidden />}>
            See the update
          </Menu.Item>
        )}
        <UseItems model={model} busy={busy} onAction={onAction} />
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
            {model.gated ? "Open the licence page" : "Open on the Hub"}
          </Menu.Item>
        )}
        {model.status === "ready" && (
          <Menu.Item
            leftSection={<ShieldCheck size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "verify")}
          >
            Verify the files
          </Menu.Item>
        )}
        <Menu.Divider role="separator" />
        {waitsForDisk(model) && (
          <Menu.Item
            leftSection={<Play size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "resume")}
          >
            Resume now
          </Menu.Item>
        )}
        {active ? (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Ban size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "cancel")}
          >
            Cancel and remove…
          </Menu.Item>
        ) : (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Trash2 size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "delete")}
          >
            Delete…
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

/** What can be done with a model that is ready; one whose files are gone may still be in memory. */
function UseItems({ model, busy, onAction }: ActionProps) {
  const away = useOfflineReason();
  const ready = model.status === "ready";
  const item = (label: string, icon: React.ReactNode, action: CardAction) => (
    <Menu.Item
      leftSection={icon}
      disabled={busy || away !== undefined}
      title={away}
      onClick={() => onAction(model, action)}
    >
      {label}
    </Menu.Item>
  );
  return (
    <>
      {ready && model.training?.compatible !== false && (
        <Menu.Item
          component={Link}
          to={`/training/new?model=${model.id}`}
          leftSection={<BrainCircuit size={14} aria-hidden />}
        >
          Train an SAE on this
        </Menu.Item>
      )}
      {model.loaded && item("Unload", <ArrowUpFromLine size={14} aria-hidden />, "unload")}
      {ready && model.quantization === "none" && (
        <>
          {item("Quantize to 4-bit…", <Shrink size={14} aria-hidden />, "quantize-4bit")}
          {item("Quantize to 8-bit…", <Shrink size={14} aria-hidden />, "quantize-8bit")}
        </>
      )}
    </>
  );
}
