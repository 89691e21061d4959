import { Button, Checkbox, Text } from "@mantine/core";
import { MemoryStick, MessageSquareText, Square } from "lucide-react";
import { memo } from "react";
import { Link } from "react-router";
import { useOfflineReason } from "../../hooks/useOfflineReason";
import { formatCount } from "../../lib/bytes";
import { formatUnload } from "../../lib/measured";
import { problemOf } from "../../lib/problems";
import { isActive, loadState, precisionLabel, sentence, waitsForDisk } from "../../lib/labels";
import type { Place } from "../../lib/yard";
import type { Live, Pending } from "../../types/feed";
import type { Device, Model } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { FactLine } from "../common/FactLine";
import { ProgressLine } from "../common/ProgressLine";
import { FavouriteButton } from "./labels/FavouriteButton";
import { LabelLines } from "./labels/LabelLines";
import { ModelBadges } from "./card/ModelBadges";
import classes from "./ModelCard.module.css";
import { PrecisionBadge } from "../common/PrecisionBadge";
import { ErrorActions } from "./status/ErrorActions";
import { StatusPill } from "./status/StatusPill";
import { WorkAction } from "./status/WorkAction";
import type { CardAction, ActionProps } from "./card/actions";
import { tabOf, CardMenu } from "./card/CardMenu";
import { Memory } from "./card/CardMemory";

export interface Props {
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
      aria-label={nameOf(model)}
      onPointerEnter={() => onPoint(model)}
      onPointerLeave={() => onPoint(null)}
      onFocus={() => onPoint(model)}
      onBlur={() => onPoint(null)}
    >
      <header className={classes.head}>
        {selected !== undefined && (
          <Checkbox
            aria-label={`Select ${nameOf(model)}`}
            checked={selected}
            onChange={(event) => onSelect?.(model, event.currentTarget.checked)}
          />
        )}
        <h2 className={classes.name}>
          <Link to={href} data-card-link>
            {model.name}
          </Link>
        </h2>
        <PrecisionBadge quantization={model.quantization} />
        <FavouriteButton model={model} />
      </header>
      <CopyText text={model.model_id} label="repository id" />
      <FactLine facts={facts(model)} />

      <LabelLines model={model} />
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

/** What tells it from the same model in another precision. */
function nameOf(model: Model): string {
  return `${model.name}, ${precisionLabel(model).toLowerCase()}`;
}

/** What the model is, in a few words; what is not known is left out. */
function facts(model: Model): string[] {
  const shape =
    model.num_layers !== null && model.hidden_size !== null ? `${model.num_layers} × ${model.hidden_size}` : null;
  const context = model.max_position_embeddings;
  return [
    model.num_parameters === null ? null : `${formatCount(model.num_parameters)} parameters`,
    model.quantization === "none" ? model.dtype : null,
    model.architecture ?? model.model_type,
    shape,
    context === null ? null : `${context.toLocaleString("en")} context`,
    model.licence,
    model.converted_from === null ? null : `converted from ${model.converted_from}`,
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
