import { Button, Text } from "@mantine/core";
import { ArrowUpCircle, MemoryStick, MessageSquareText, Puzzle, Square } from "lucide-react";
import { memo } from "react";
import { Link } from "react-router";
import { useLive, usePending } from "../../../hooks/useModels";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useTorchReason } from "../../../hooks/useTorchReason";
import { fraction } from "../../../lib/bytes";
import { variantLabel, variantName } from "../../../lib/groups";
import { isActive, LOAD_LABEL, loadingLabel, loadState, sentence, waitsForDisk } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import { problemOf } from "../../../lib/problems";
import { readSoFar } from "../../../lib/progress";
import { isOutdated } from "../../../lib/versions";
import type { Live, Pending } from "../../../types/feed";
import type { Device, Model, Progress } from "../../../types/model";
import { ProgressBar } from "../../common/Bar";
import { Pill } from "../../common/Pill";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { ProgressLine } from "../../common/ProgressLine";
import { ErrorActions } from "../status/ErrorActions";
import { StatusPill } from "../status/StatusPill";
import { WorkAction } from "../status/WorkAction";
import type { ActionProps, OnAction } from "./actions";
import classes from "./Variant.module.css";
import { VariantFigures } from "./VariantFigures";
import { VariantMenu } from "./VariantMenu";

interface Props {
  model: Model;
  /** The one that stands for the repository. */
  head: Model;
  /** Where it may fit; not known yet while undefined. */
  devices: Device[] | undefined;
  /** The search part of the list's address. */
  search: string;
  onAction: OnAction;
  onPoint: (model: Model | null) => void;
}

/** A precision, conversion or adapter of a model: its state, what it needs, and what can be done with it. */
export const Variant = memo(function Variant({ model, head, devices, search, onAction, onPoint }: Props) {
  const live = useLive(model.id);
  const pending = usePending(model.id);
  const load = model.status === "ready" && live?.progress?.phase === "loading" ? live.progress : null;
  const working = isActive(model.status) || (live !== undefined && load === null);
  const busy = pending !== undefined;
  return (
    <div
      className={classes.variant}
      role="group"
      aria-label={variantName(model)}
      onPointerEnter={() => onPoint(model)}
      onPointerLeave={() => onPoint(null)}
      onFocus={() => onPoint(model)}
      onBlur={() => onPoint(null)}
    >
      <div className={classes.line}>
        <Link
          to={modelPath(model.id, "overview", search)}
          data-card-link
          className={classes.label}
          title={`Details of ${variantName(model)}`}
        >
          {model.adapter === null ? (
            <PrecisionBadge quantization={model.quantization} />
          ) : (
            <Puzzle size={14} aria-label="Adapter" />
          )}
          <span className="truncate">{restOfLabel(model, head)}</span>
        </Link>
        <State model={model} load={load} live={live} pending={pending} />
        <PrimaryAction model={model} load={load} search={search} busy={busy} onAction={onAction} />
        <VariantMenu model={model} busy={busy} onAction={onAction} />
      </div>
      <VariantFigures model={model} devices={devices} load={load} />
      {load !== null && <LoadBar name={model.name} load={load} />}
      {model.replaced_by !== null && <p className={classes.remark}>Replaced by another version</p>}
      {model !== head && isOutdated(model) && (
        <Link to={modelPath(model.id, "files", search)} className={classes.remark}>
          <ArrowUpCircle size={12} aria-hidden /> Update available
        </Link>
      )}
      {working && <ProgressLine model={model} live={live} pending={pending} />}
      {pending === undefined && <RowProblem model={model} onAction={onAction} />}
      {!working && <Users model={model} />}
    </div>
  );
});

/** What the badge does not say already. */
function restOfLabel(model: Model, head: Model): string {
  const label = variantLabel(model, head);
  return model.adapter === null ? label.split(", ").slice(1).join(", ") : label;
}

interface StateProps {
  model: Model;
  load: Progress | null;
  live: Live | undefined;
  pending: Pending | undefined;
}

/** One word or sentence in a place of its own: to load or unload a model moves nothing. */
function State({ model, load, live, pending }: StateProps) {
  const use = model.used_by.find(({ kind }) => kind === "loaded");
  const state = loadState(load);
  const text = state !== null ? LOAD_LABEL[state] : use === undefined ? null : sentence(use.name);
  return (
    <span className={classes.state} title={text ?? undefined}>
      {text === null || pending !== undefined ? (
        <StatusPill status={model.status} error={model.error} progress={live?.progress} pending={pending} />
      ) : (
        <Pill icon={MemoryStick} tone={load !== null ? "active" : "good"}>
          {text}
        </Pill>
      )}
    </span>
  );
}

function LoadBar({ name, load }: { name: string; load: Progress }) {
  const share = fraction(load.bytes_done, load.bytes_total);
  if (share === null) return null;
  const phase = loadingLabel(load);
  return (
    <div className={classes.loadBar}>
      <ProgressBar label={`${name}: ${phase}`} share={share} valueText={`${phase}, ${readSoFar(load)}`} />
    </div>
  );
}

/** Who else needs it. */
function Users({ model }: { model: Model }) {
  return model.used_by
    .filter((use) => use.kind !== "loaded")
    .map((use) => (
      <p key={use.id} className={classes.remark}>
        {use.kind === "training" ? <Link to={`/training/${use.id}`}>{sentence(use.name)}</Link> : sentence(use.name)}
      </p>
    ));
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

function PrimaryAction({
  model,
  load,
  search,
  busy,
  onAction,
}: ActionProps & Pick<Props, "search"> & { load: Progress | null }) {
  const away = useOfflineReason();
  const torch = useTorchReason();
  // There is no room to go on; the steps that make some stand below, and the menu still has it.
  if (waitsForDisk(model)) return null;
  if (model.status !== "ready") return <WorkAction model={model} busy={busy} onAction={onAction} />;
  if (load === null && model.loaded)
    return (
      <Button
        size="compact-sm"
        variant="default"
        leftSection={<MessageSquareText size={14} aria-hidden />}
        component={Link}
        to={modelPath(model.id, "try", search)}
        aria-label={`Try it: ${model.name}`}
      >
        Try it
      </Button>
    );
  const why = away ?? torch;
  const label = load === null ? "Load" : "Stop";
  return (
    <Button
      size="compact-sm"
      variant="default"
      leftSection={load === null ? <MemoryStick size={14} aria-hidden /> : <Square size={14} aria-hidden />}
      disabled={busy || loadState(load) === "stopping" || (why !== undefined && load === null)}
      title={load === null ? why : undefined}
      onClick={() => onAction(model, load === null ? "load" : "cancel")}
      aria-label={`${label}${load === null ? "" : " loading"} ${model.name}`}
    >
      {label}
    </Button>
  );
}
