import { ActionIcon, Button, Group, Popover, Text, Title, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { ArrowDownToLine, Pause, Play, X } from "lucide-react";
import { Link } from "react-router";
import { useActiveModels, useConn, useLive, useModel, usePending } from "../../hooks/useModels";
import { formatDuration, formatRate } from "../../lib/bytes";
import { useFinishedStore } from "../../stores/finishedStore";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { ProgressLine } from "../common/ProgressLine";
import { QuantBadge } from "../models/QuantBadge";
import { StatusPill } from "../models/StatusPill";
import { WorkAction } from "../models/WorkAction";
import classes from "./DownloadsTray.module.css";

/** Everything under way, from anywhere in the page; the server owns the jobs, so a reload changes nothing. */
export function DownloadsTray() {
  const [open, tray] = useDisclosure(false);
  const active = useActiveModels();
  return (
    <Popover
      opened={open}
      onChange={(value) => (value ? tray.open() : tray.close())}
      position="bottom-end"
      width="min(440px, calc(100vw - 16px))"
      trapFocus
      returnFocus
      withRoles={false}
      transitionProps={{ duration: 100 }}
      shadow="none"
    >
      <Popover.Target>
        <Button
          variant={active.length > 0 ? "light" : "subtle"}
          color={active.length > 0 ? "accent" : "gray"}
          size="compact-sm"
          h={32}
          px="xs"
          leftSection={<ArrowDownToLine size={16} aria-hidden />}
          onClick={tray.toggle}
          aria-expanded={open}
          aria-haspopup="dialog"
        >
          <Summary active={active} />
        </Button>
      </Popover.Target>
      <Popover.Dropdown p={0} role="dialog" aria-label="Downloads" className={classes.tray}>
        <TrayBody active={active} onClose={tray.close} />
      </Popover.Dropdown>
    </Popover>
  );
}

function Summary({ active }: { active: Model[] }) {
  const stale = useConn() === "stale";
  const ids = active.map((model) => model.id).join(" ");
  const rate = useModelsStore((state) => sum(ids, (id) => state.live[id]?.progress?.bytes_per_second ?? 0));
  const eta = useModelsStore((state) =>
    ids === "" ? 0 : Math.max(...ids.split(" ").map((id) => state.live[id]?.progress?.eta_seconds ?? 0)),
  );
  if (active.length === 0) return <span className={classes.idle}>Downloads</span>;
  return (
    <span className="num">
      <span aria-hidden>{active.length}</span>
      <span className={classes.hidden}>
        {active.length === 1 ? "1 download" : `${active.length} downloads`} under way
      </span>
      {rate > 0 && !stale && (
        <span className={classes.detail} aria-hidden>
          {` · ${formatRate(rate)}${eta > 0 ? ` · ${formatDuration(eta)}` : ""}`}
        </span>
      )}
    </span>
  );
}

function sum(ids: string, value: (id: string) => number): number {
  return ids === "" ? 0 : ids.split(" ").reduce((total, id) => total + value(id), 0);
}

function TrayBody({ active, onClose }: { active: Model[]; onClose: () => void }) {
  const act = useModelsStore((state) => state.act);
  const running = active.filter((model) => model.status === "downloading" || model.status === "pending");
  const paused = active.filter((model) => model.status === "paused");
  const { ids: finished, clear } = useFinishedStore();
  return (
    <>
      <Group justify="space-between" className={classes.head}>
        <Title order={2} size="h3">
          Downloads
        </Title>
        <Group gap={4}>
          {running.length > 1 && (
            <Button
              variant="subtle"
              size="compact-sm"
              onClick={() => running.forEach(({ id }) => void act(id, "pause"))}
            >
              Pause all
            </Button>
          )}
          {paused.length > 1 && (
            <Button
              variant="subtle"
              size="compact-sm"
              onClick={() => paused.forEach(({ id }) => void act(id, "resume"))}
            >
              Resume all
            </Button>
          )}
          {finished.length > 0 && (
            <Button variant="subtle" size="compact-sm" onClick={clear}>
              Clear finished
            </Button>
          )}
          <ActionIcon onClick={onClose} aria-label="Close downloads">
            <X size={16} aria-hidden />
          </ActionIcon>
        </Group>
      </Group>
      {active.length === 0 && finished.length === 0 ? (
        <Text c="dimmed" className={classes.empty}>
          Nothing is being downloaded. Start with “Download a model” on the{" "}
          <Link to="/models?download">models page</Link>.
        </Text>
      ) : (
        <ul className={classes.list}>
          {active.map((model) => (
            <TrayRow key={model.id} model={model} onOpen={onClose} />
          ))}
          {finished.map((id) => (
            <FinishedRow key={id} id={id} onOpen={onClose} />
          ))}
        </ul>
      )}
    </>
  );
}

/** Work that ended while the page was open: where it led, and the way on where it failed. */
function FinishedRow({ id, onOpen }: { id: string; onOpen: () => void }) {
  const model = useModel(id);
  const pending = usePending(id);
  const act = useModelsStore((state) => state.act);
  if (model === undefined) return null;
  return (
    <li className={classes.row}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Group gap="xs" wrap="nowrap" miw={0}>
          <Link to={`/models/${id}`} className={classes.name} onClick={onOpen}>
            {model.name}
          </Link>
          <QuantBadge quantization={model.quantization} />
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

function TrayRow({ model, onOpen }: { model: Model; onOpen: () => void }) {
  const live = useLive(model.id);
  const pending = usePending(model.id);
  const act = useModelsStore((state) => state.act);
  const busy = pending !== undefined;
  return (
    <li className={classes.row}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Group gap="xs" wrap="nowrap" miw={0}>
          <Link to={`/models/${model.id}`} className={classes.name} onClick={onOpen}>
            {model.name}
          </Link>
          <QuantBadge quantization={model.quantization} />
        </Group>
        <Group gap={2} wrap="nowrap">
          {model.status === "paused" ? (
            <Tooltip label="Resume">
              <ActionIcon
                disabled={busy}
                onClick={() => void act(model.id, "resume")}
                aria-label={`Resume ${model.name}`}
              >
                <Play size={16} aria-hidden />
              </ActionIcon>
            </Tooltip>
          ) : (
            model.status !== "quantizing" && (
              <Tooltip label="Pause and keep what was fetched">
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
          <Tooltip label="Cancel and remove what was fetched">
            <ActionIcon
              disabled={busy}
              onClick={() => void act(model.id, "cancel")}
              aria-label={`Cancel ${model.name}`}
            >
              <X size={16} aria-hidden />
            </ActionIcon>
          </Tooltip>
        </Group>
      </Group>
      <ProgressLine model={model} live={live} pending={pending} />
    </li>
  );
}
