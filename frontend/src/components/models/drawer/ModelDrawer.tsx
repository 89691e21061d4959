import { Button, Drawer, Group, Skeleton, Stack, Tabs } from "@mantine/core";
import { useSearchParams } from "react-router";
import { Suspense } from "react";
import { getArchitecture } from "../../../api/models";
import { formatBytes } from "../../../lib/bytes";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import { problemOf, type ProblemView } from "../../../lib/problems";
import { isActive, sourceOf, statusLabel, waitsForDisk } from "../../../lib/labels";
import type { Live, Pending } from "../../../types/feed";
import type { Model } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { DeleteButton } from "../../common/DeleteButton";
import { EmptyState } from "../../common/EmptyState";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ProgressLine } from "../../common/ProgressLine";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import type { CardAction } from "../card/actions";
import classes from "./ModelDrawer.module.css";
import { HistoryView } from "./HistoryView";
import { ModelBadges } from "../card/ModelBadges";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { ErrorActions } from "../status/ErrorActions";
import { StatusPill } from "../status/StatusPill";
import { UpdateNotice } from "./UpdateNotice";
import { Overview } from "./Overview";
import { Files } from "./Files";
import { WorkActions, Unload, LoadedLines, ReadyActions } from "./DrawerActions";

const ArchitectureView = lazyWithRetry(() => import("../architecture/ArchitectureView"));

const Playground = lazyWithRetry(() => import("../playground/Playground"));

export interface Props {
  /** Whether the address names a model; its row may be unknown. */
  opened: boolean;
  model: Model | undefined;
  loading: boolean;
  live: Live | undefined;
  pending: Pending | undefined;
  closeOnEscape?: boolean;
  onClose: () => void;
  onAction: (model: Model, action: CardAction) => void;
}

/** Everything known of one model, at its own address. */
export default function ModelDrawer(props: Props) {
  const { opened, model, loading, live, pending, closeOnEscape = true, onClose, onAction } = props;
  return (
    <Drawer
      opened={opened}
      onClose={onClose}
      closeOnEscape={closeOnEscape}
      position="right"
      size="min(720px, 100vw)"
      title={
        <span className={classes.title}>
          <span className="truncate">{model?.name ?? (loading ? "Loading the model" : "Not found")}</span>
          {model !== undefined && <PrecisionBadge quantization={model.quantization} dtype={model.dtype} />}
        </span>
      }
    >
      <ConnectionNotice />
      {model !== undefined ? (
        <Details model={model} live={live} pending={pending} onAction={onAction} />
      ) : loading ? (
        <Unknown />
      ) : (
        <EmptyState
          title="Model not found"
          action={
            <Button variant="default" onClick={onClose}>
              Back to models
            </Button>
          }
        >
          It was deleted, or the address belongs to another server.
        </EmptyState>
      )}
    </Drawer>
  );
}

/** The shape of what is being fetched: name and state, actions, tabs, facts. */
function Unknown() {
  return (
    <Stack gap="md">
      <Skeleton h={24} maw={320} />
      <Skeleton h={30} maw={240} />
      <Skeleton h={34} />
      {Array.from({ length: 8 }, (_, index) => (
        <Skeleton key={index} h={20} />
      ))}
    </Stack>
  );
}

function Details({ model, live, pending, onAction }: { model: Model } & Pick<Props, "live" | "pending" | "onAction">) {
  const [parameters, setParameters] = useSearchParams();
  const tab = TABS.find(([value]) => value === parameters.get("tab"))?.[0] ?? "overview";
  function at(value: string | null) {
    const next = new URLSearchParams(parameters);
    if (value === null || value === "overview") next.delete("tab");
    else next.set("tab", value);
    return next;
  }
  const open = (value: string | null) => setParameters(at(value), { replace: true });
  const busy = pending !== undefined;
  // A row that stopped keeps its alert, with the button that was pressed in it, until the row itself changes.
  const problem = !busy || model.status !== "ready" ? problemOf(model) : null;
  return (
    <Stack gap="md">
      <Group justify="space-between" gap="xs">
        <CopyText text={model.model_id} label="repository id" />
        <StatusPill status={model.status} error={model.error} progress={live?.progress} pending={pending} />
      </Group>
      <ModelBadges
        model={model}
        filesHref={`?${at("files").toString()}`}
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
          onTry={tab === "try" ? undefined : () => open("try")}
        />
      ) : (
        problem === null && (
          <Group gap="xs">
            <WorkActions model={model} busy={busy} onAction={onAction} />
          </Group>
        )
      )}
      {model.loaded && (
        <LoadedLines model={model}>
          {model.status !== "ready" && <Unload model={model} pending={pending} onAction={onAction} />}
        </LoadedLines>
      )}
      {problem !== null && (
        <ProblemAlert
          title={whatFailed(model)}
          problem={withKept(model, problem)}
          tone={waitsForDisk(model) ? "warn" : "bad"}
        >
          {/* To go on comes first, save where it has to wait for the other steps. */}
          {waitsForDisk(model) && <ErrorActions model={model} />}
          {model.status !== "ready" && <WorkActions model={model} busy={busy} onAction={onAction} />}
          {model.status === "missing" && (
            <DeleteButton size="xs" disabled={busy} onClick={() => onAction(model, "delete")} />
          )}
          {!waitsForDisk(model) && <ErrorActions model={model} onQuantize={() => onAction(model, "quantize-4bit")} />}
        </ProblemAlert>
      )}
      <Tabs value={tab} onChange={open} keepMounted={false} classNames={{ tab: classes.tab }}>
        <Tabs.List>
          {TABS.map(([value, word]) => (
            <Tabs.Tab key={value} value={value}>
              {word}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="overview" pt="md">
          <Overview model={model} busy={busy} onAction={onAction} />
        </Tabs.Panel>
        <Tabs.Panel value="try" pt="md">
          <Suspense fallback={<Placeholder h={200} label="Loading" />}>
            <Playground key={model.id} model={model} />
          </Suspense>
        </Tabs.Panel>
        <Tabs.Panel value="architecture" pt="md">
          <Suspense fallback={<Placeholder h={200} label="Loading" />}>
            <ArchitectureView
              about={`${model.id}@${model.commit}`}
              load={(signal) => getArchitecture(model.id, signal)}
              source={sourceOf(model)}
            />
          </Suspense>
        </Tabs.Panel>
        <Tabs.Panel value="files" pt="md">
          <Stack gap="md">
            <UpdateNotice key={model.id} model={model} />
            <Files model={model} live={live} />
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="history" pt="md">
          <HistoryView key={model.id} model={model} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

const TABS = [
  ["overview", "Overview"],
  ["try", "Try it"],
  ["architecture", "Architecture"],
  ["files", "Files"],
  ["history", "History"],
] as const;

const WENT_WRONG: Record<string, string> = {
  load: "Loading failed",
  unload: "Unloading failed",
  generate: "Generation failed",
};

const STOPPED: Record<NonNullable<Model["restarts_with"]>, string> = {
  download: "The download failed",
  verify: "The verification failed",
  import: "The import failed",
  quantize: "The quantization failed",
  merge: "The merge failed",
};

/** What stopped a row; a ready one is still ready, and only its last use went wrong. */
function whatFailed(model: Model): string {
  if (model.status === "missing") return "Files are missing";
  if (model.status === "paused") return statusLabel(model);
  if (model.status !== "ready") return STOPPED[model.restarts_with ?? "download"];
  return WENT_WRONG[model.error?.during ?? ""] ?? "Something went wrong";
}

/** What was fetched before a row stopped is not fetched again. */
function withKept({ status, disk_bytes }: Model, problem: ProblemView): ProblemView {
  if ((status !== "failed" && status !== "paused") || disk_bytes === 0) return problem;
  return { ...problem, message: `${problem.message} The ${formatBytes(disk_bytes)} on the disk are kept.` };
}
