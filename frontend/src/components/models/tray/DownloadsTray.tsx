import { ActionIcon, Button, Group, Popover, Text, Title, VisuallyHidden } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { ArrowDownToLine, X } from "lucide-react";
import { Link } from "react-router";
import { useActiveModels, useConn } from "../../../hooks/useModels";
import { QUIET_MS, useQuiet } from "../../../hooks/useQuiet";
import { formatDuration, formatRate } from "../../../lib/bytes";
import { waitsForDisk } from "../../../lib/labels";
import type { Live } from "../../../types/feed";
import { useFinishedStore } from "../../../stores/finishedStore";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import { ServerButton } from "../../common/ServerButton";
import classes from "./DownloadsTray.module.css";
import { FinishedRow, TrayRow } from "./TrayRow";

/** Everything under way, from anywhere in the page; the server owns the jobs, so a reload changes nothing. */
export function DownloadsTray() {
  const [open, tray] = useDisclosure(false);
  const active = useActiveModels();
  const stale = useConn() === "stale" && active.length > 0;
  return (
    <Popover
      opened={open}
      onChange={(value) => (value ? tray.open() : tray.close())}
      position="bottom-end"
      offset={16}
      // Escape closes it below, where a row's question can take it first.
      closeOnEscape={false}
      width="min(440px, calc(100vw - 16px))"
      middlewares={{ shift: { padding: 8 } }}
      trapFocus
      returnFocus
      withRoles={false}
      transitionProps={{ duration: 100 }}
      shadow="none"
    >
      <Popover.Target>
        <Button
          variant={active.length > 0 ? "light" : "subtle"}
          color={stale ? "yellow" : active.length > 0 ? "accent" : "gray"}
          size="compact-sm"
          h={32}
          px="xs"
          leftSection={<ArrowDownToLine size={16} aria-hidden />}
          onClick={tray.toggle}
          aria-expanded={open}
          aria-haspopup="dialog"
        >
          <Summary active={active} stale={stale} />
        </Button>
      </Popover.Target>
      <Popover.Dropdown
        p={0}
        role="dialog"
        aria-label="Downloads"
        tabIndex={-1}
        className={classes.tray}
        onKeyDown={(event) => {
          if (event.key === "Escape") tray.close();
        }}
      >
        <TrayBody active={active} onClose={tray.close} />
      </Popover.Dropdown>
    </Popover>
  );
}

/** How many, how fast and, once all that is not paused can tell, how long. */
function Summary({ active, stale }: { active: Model[]; stale: boolean }) {
  const idsOf = (models: Model[]) => models.map((model) => model.id).join(" ");
  const ids = idsOf(active);
  const going = idsOf(active.filter((model) => model.status !== "paused"));
  const heardAt = useModelsStore((state) => latest(ids, state.live));
  const quiet = useQuiet(heardAt);
  // A worker that was killed leaves its last rate behind.
  const flows = (live: Live | undefined) =>
    !quiet && live !== undefined && heardAt - live.heardAt < QUIET_MS ? live.progress : null;
  const rate = useModelsStore((state) => sum(ids, (id) => flows(state.live[id])?.bytes_per_second ?? 0));
  const eta = useModelsStore((state) => longest(going, (id) => flows(state.live[id])?.eta_seconds ?? null));
  const downloads = active.filter(isDownload).length;
  const others = active.length - downloads;
  if (active.length === 0) return <span className={classes.idle}>Downloads</span>;
  const flow = [formatRate(rate), eta === null ? "" : `${formatDuration(eta)} left`].filter(Boolean);
  return (
    <span className="num">
      <span aria-hidden>{downloads > 0 ? downloads : others}</span>
      <VisuallyHidden>
        {[counted(downloads, "download"), counted(others, "other job")].filter(Boolean).join(" and ")} under way
        {stale && " (last known)"}
      </VisuallyHidden>
      {(stale || rate > 0) && (
        <span className={classes.detail} aria-hidden>
          {` · ${stale ? "last known" : flow.join(" · ")}`}
        </span>
      )}
    </span>
  );
}

/** Whether bytes come from a Hub; other work is a quantization, a conversion, a check, an import. */
function isDownload({ status, progress }: Model): boolean {
  return status !== "quantizing" && (progress === null || progress.work === "download");
}

function counted(count: number, what: string): string {
  return count === 0 ? "" : count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

/** When any of them told something new. */
function latest(ids: string, live: Record<string, Live>): number {
  return Math.max(0, ...ids.split(" ").map((id) => live[id]?.heardAt ?? 0));
}

function sum(ids: string, value: (id: string) => number): number {
  return ids === "" ? 0 : ids.split(" ").reduce((total, id) => total + value(id), 0);
}

/** The largest value; null as soon as one is not known. */
function longest(ids: string, value: (id: string) => number | null): number | null {
  const values = ids === "" ? [] : ids.split(" ").map(value);
  const known = values.filter((one) => one !== null);
  return known.length > 0 && known.length === values.length ? Math.max(...known) : null;
}

function TrayBody({ active, onClose }: { active: Model[]; onClose: () => void }) {
  const act = useModelsStore((state) => state.act);
  const running = active.filter((model) => model.status === "downloading" || model.status === "pending");
  const paused = active.filter((model) => model.status === "paused" && !waitsForDisk(model));
  const { ids: finished, clear } = useFinishedStore();
  return (
    <>
      <Group justify="space-between" className={classes.head}>
        <Title order={2} size="h3">
          Downloads
        </Title>
        <Group gap={4}>
          {running.length > 1 && (
            <ServerButton
              variant="subtle"
              size="compact-sm"
              onClick={() => running.forEach(({ id }) => void act(id, "pause"))}
            >
              Pause all
            </ServerButton>
          )}
          {paused.length > 1 && (
            <ServerButton
              variant="subtle"
              size="compact-sm"
              onClick={() => paused.forEach(({ id }) => void act(id, "resume"))}
            >
              Resume all
            </ServerButton>
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
          No downloads. Start one with “Download a model” on the <Link to="/models?download">models page</Link>.
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
