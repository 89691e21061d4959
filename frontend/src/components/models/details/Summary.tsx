import { Group, Title } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { ChevronLeft, ExternalLink } from "lucide-react";
import { useEffect, useRef } from "react";
import { Link, NavigationType, useNavigationType, useSearchParams } from "react-router";
import { formatCount, formatDisk } from "../../../lib/bytes";
import { hubPage } from "../../../lib/hub";
import { isActive } from "../../../lib/labels";
import { formatWeights } from "../../../lib/measured";
import { listPath, modelPath, type ModelTab } from "../../../lib/modelPath";
import { problemOf } from "../../../lib/problems";
import type { Model } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { FactLine } from "../../common/FactLine";
import { Fact, Facts } from "../../common/Facts";
import { ProgressLine } from "../../common/ProgressLine";
import { ModelBadges } from "../card/ModelBadges";
import { FavouriteButton } from "../labels/FavouriteButton";
import { LabelLines } from "../labels/LabelLines";
import { StatusPill } from "../status/StatusPill";
import { LoadedLines, ReadyActions, EntryActions, Unload, WorkActions } from "./ModelActions";
import type { Props as DetailsProps } from "./ModelDetails";
import classes from "./Summary.module.css";
import { Variants } from "./Variants";

interface Props extends Omit<DetailsProps, "training"> {
  tab: ModelTab;
  onTry: () => void;
}

/** What stays while the views change: what the model is, its precisions, and what can be done with it. */
export function Summary({ model, live, pending, tab, onAction, onTry }: Props) {
  const [parameters] = useSearchParams();
  const stacked = useMediaQuery("(max-width: 62em)", false, { getInitialValueInEffect: false });
  const busy = pending !== undefined;
  const page = hubPage(model);
  // Above another view, what is not asked for there would push that view off a phone.
  const brief = stacked && tab !== "overview";
  return (
    <section className={classes.summary} aria-label="Summary">
      <div>
        <Link to={listPath(parameters)} className={classes.back}>
          <ChevronLeft size={16} aria-hidden />
          Models
        </Link>
        <div className={classes.name}>
          <Name key={model.id} name={model.name} />
          <FavouriteButton model={model} />
        </div>
        <CopyText text={model.model_id} label="repository id" />
      </div>
      <Variants model={model} tab={tab} />
      <div className={classes.state}>
        <StatusPill status={model.status} error={model.error} progress={live?.progress} pending={pending} />
        {model.loaded && <LoadedLines model={model} />}
      </div>
      <LabelLines model={model} whole />
      <ModelBadges
        model={model}
        filesHref={modelPath(model.id, "files", parameters)}
        // A ready model has a line of its own about it, with the reason.
        training={model.status !== "ready"}
      />
      {(isActive(model.status) || live !== undefined) && <ProgressLine model={model} live={live} pending={pending} />}
      {model.status === "ready" ? (
        <ReadyActions
          model={model}
          live={live}
          pending={pending}
          onAction={onAction}
          onTry={tab === "try" ? undefined : onTry}
        />
      ) : (
        <Group gap="xs">
          {problemOf(model) === null && <WorkActions model={model} busy={busy} onAction={onAction} />}
          {model.loaded && <Unload model={model} pending={pending} onAction={onAction} />}
        </Group>
      )}
      {!brief && <Shape model={model} stacked={stacked} />}
      {!brief && page !== null && (
        <a href={page} target="_blank" rel="noreferrer" className={classes.outside}>
          <ExternalLink size={14} aria-hidden />
          {model.gated ? "Open the licence page" : "Open on the Hub"}
        </a>
      )}
      {!brief && <EntryActions model={model} busy={busy} onAction={onAction} />}
    </section>
  );
}

/** Whoever came here by a link reads on from the name. */
function Name({ name }: { name: string }) {
  const title = useRef<HTMLHeadingElement>(null);
  const pushed = useNavigationType() === NavigationType.Push;
  const arrived = useRef(pushed);
  useEffect(() => {
    if (arrived.current) title.current?.focus({ preventScroll: true });
  }, []);
  return (
    <Title order={1} ref={title} tabIndex={-1} className={classes.title}>
      {name}
    </Title>
  );
}

/** The figures that are asked for first: a list beside the views, a line above them. */
function Shape({ model, stacked }: { model: Model; stacked: boolean }) {
  const context = model.max_position_embeddings;
  const parameters = model.num_parameters === null ? null : formatCount(model.num_parameters);
  const tokens = context === null ? null : context.toLocaleString("en");
  const memory = formatWeights(model);
  // While it comes or goes, the line above says it as it changes.
  const disk = isActive(model.status) ? null : formatDisk(model);
  if (stacked)
    return (
      <FactLine
        facts={[
          parameters === null ? null : `${parameters} parameters`,
          model.architecture,
          tokens === null ? null : `${tokens} context`,
          model.dtype === null ? null : `stored as ${model.dtype}`,
          memory === null ? null : `${memory} in memory`,
          disk === null ? null : `${disk} on disk`,
          model.licence,
        ].filter((fact) => fact !== null)}
      />
    );
  return (
    <Facts>
      <Fact name="Parameters">
        {parameters !== null && <span title={model.num_parameters?.toLocaleString("en")}>{parameters}</span>}
      </Fact>
      <Fact name="Architecture">{model.architecture}</Fact>
      <Fact name="Longest context">{tokens === null ? null : `${tokens} tokens`}</Fact>
      <Fact name="Stored as">{model.dtype}</Fact>
      <Fact name="Weights">{memory}</Fact>
      {disk !== null && <Fact name="On disk">{disk}</Fact>}
      <Fact name="Licence">{model.licence}</Fact>
    </Facts>
  );
}
