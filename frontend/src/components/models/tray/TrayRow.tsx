import { ActionIcon, Button, Group, Text, Tooltip } from "@mantine/core";
import { Ban, Pause, Play } from "lucide-react";
import { useRef, useState } from "react";
import { Link } from "react-router";
import type { ModelAction } from "../../../api/models";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useLive, useModel, usePending } from "../../../hooks/useModels";
import { canPause, discardLabel, losesWork } from "../../../lib/cancel";
import { problemOf } from "../../../lib/problems";
import { waitsForDisk } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import type { Live } from "../../../types/feed";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import { ProgressLine } from "../../common/ProgressLine";
import { ServerButton } from "../../common/ServerButton";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { ErrorActions } from "../status/ErrorActions";
import { StatusPill } from "../status/StatusPill";
import { WorkAction } from "../status/WorkAction";
import classes from "./DownloadsTray.module.css";

/** Work that ended: where it led, and the way on where it failed. */
export function FinishedRow({ id, onOpen }: { id: string; onOpen: () => void }) {
  const model = useModel(id);
  const pending = usePending(id);
  const act = useModelsStore((state) => state.act);
  if (model === undefined) return null;
  return (
    <li className={classes.row}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Group gap="xs" wrap="nowrap" miw={0}>
          <Link to={modelPath(id)} className={classes.name} onClick={onOpen}>
            {model.name}
          </Link>
          <PrecisionBadge quantization={model.quantization} />
        </Group>
        <Group gap="xs" wrap="nowrap">
          <StatusPill status={model.status} pending={pending} />
          {model.status === "failed" && (
            <WorkAction model={model} busy={pending !== undefined} onAction={(_, action) => void act(id, action)} />
          )}
        </Group>
      </Group>
      {model.status === "failed" && model.error !== null && (
        <Text size="xs" c="dimmed" lineClamp={2}>
          {model.error.message}
        </Text>
      )}
    </li>
  );
}

export function TrayRow({ model, onOpen }: { model: Model; onOpen: () => void }) {
  const [asked, setAsked] = useState(false);
  const cancel = useRef<HTMLButtonElement>(null);
  const live = useLive(model.id);
  const pending = usePending(model.id);
  const act = useModelsStore((state) => state.act);
  const busy = pending !== undefined;
  const away = useOfflineReason();
  const problem = problemOf(model);
  const asking = asked && !busy;
  const keep = () => {
    setAsked(false);
    cancel.current?.focus();
  };
  return (
    <li className={classes.row}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Group gap="xs" wrap="nowrap" miw={0}>
          <Link to={modelPath(model.id)} className={classes.name} onClick={onOpen}>
            {model.name}
          </Link>
          <PrecisionBadge quantization={model.quantization} />
        </Group>
        <Group gap={2} wrap="nowrap" className={classes.buttons}>
          {waitsForDisk(model) ? null : model.status === "paused" ? (
            <Tooltip label="Resume">
              <ActionIcon
                disabled={busy || away !== undefined}
                title={away}
                onClick={() => void act(model.id, "resume")}
                aria-label={`Resume ${model.name}`}
              >
                <Play size={16} aria-hidden />
              </ActionIcon>
            </Tooltip>
          ) : (
            model.status !== "quantizing" && (
              <Tooltip label="Pause and keep what was downloaded">
                <ActionIcon
                  disabled={busy}
                  onClick={() => void act(model.id, "pause")}
                  aria-label={`Pause ${model.name}`}
                >
                  <Pause size={16} aria-hidden />
                </ActionIcon>
              </Tooltip>
            )
          )}
          <Tooltip
            label={
              live?.progress?.work === "verify"
                ? "Stop checking"
                : model.status === "quantizing"
                  ? "Cancel"
                  : "Cancel and delete what was downloaded"
            }
          >
            <ActionIcon
              ref={cancel}
              color="red"
              disabled={busy || away !== undefined}
              title={away}
              onClick={() => {
                if (losesWork(model, live)) setAsked(!asking);
                else void act(model.id, "cancel");
              }}
              aria-expanded={asking}
              aria-label={`Cancel ${model.name}`}
            >
              <Ban size={16} aria-hidden />
            </ActionIcon>
          </Tooltip>
        </Group>
      </Group>
      <ProgressLine model={model} live={live} pending={pending} />
      {problem !== null && !busy && (
        <div className={classes.problem}>
          <Text size="xs">
            {problem.message} {problem.hint}
          </Text>
          <Group gap="md" fz="xs" onClick={onOpen}>
            <ErrorActions model={model} />
          </Group>
        </div>
      )}
      {asking && (
        <Discard
          model={model}
          live={live}
          onKeep={keep}
          onAction={(action) => {
            setAsked(false);
            void act(model.id, action);
          }}
        />
      )}
    </li>
  );
}

interface DiscardProps {
  model: Model;
  live: Live | undefined;
  onKeep: () => void;
  onAction: (action: ModelAction) => void;
}

/** Asked in the row itself: what goes with it, or the way to stop that loses nothing. */
function Discard({ model, live, onKeep, onAction }: DiscardProps) {
  const answer = (action: ModelAction) => (event: React.MouseEvent) => {
    // The pressed button goes away; without this the keyboard would leave the tray with it.
    event.currentTarget.closest<HTMLElement>("[role=dialog]")?.focus();
    onAction(action);
  };
  return (
    <Group
      gap="xs"
      role="group"
      aria-label={`Cancel ${model.name}`}
      className={classes.question}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        onKeep();
      }}
    >
      <ServerButton size="compact-sm" color="red" onClick={answer("cancel")}>
        {discardLabel(model, live)}
      </ServerButton>
      <Button size="compact-sm" variant="default" autoFocus onClick={canPause(model) ? answer("pause") : onKeep}>
        {canPause(model) ? "Pause instead" : "Keep it"}
      </Button>
    </Group>
  );
}
