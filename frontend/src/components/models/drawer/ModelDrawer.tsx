import { Button, Drawer, Group, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { Link, useSearchParams } from "react-router";
import { useClipboard } from "@mantine/hooks";
import { Code, TriangleAlert } from "lucide-react";
import { Suspense } from "react";
import { getArchitecture, listFiles } from "../../../api/models";
import { getCompatibility } from "../../../api/trainings";
import { useMemoryPlan } from "../../../hooks/useMemoryPlan";
import { useResource } from "../../../hooks/useResource";
import { formatDisk, formatBytes, formatCount, formatSeconds } from "../../../lib/bytes";
import { formatWhen } from "../../../lib/dates";
import { hubName } from "../../../lib/hubName";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import { formatGap, takesMore, formatUnload } from "../../../lib/measured";
import { problemOf, type ProblemView } from "../../../lib/problems";
import {
  isActive,
  loadSnippet,
  loadState,
  QUANTIZATION_LABEL,
  sentence,
  sourceOf,
  statusLabel,
  waitsForDisk,
} from "../../../lib/labels";
import type { Live, Pending } from "../../../types/feed";
import { useSystemStore } from "../../../stores/systemStore";
import { trialOf, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { EmptyState } from "../../common/EmptyState";
import { Fact, Facts } from "../../common/Facts";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import { ProgressLine } from "../../common/ProgressLine";
import { ServerButton } from "../../common/ServerButton";
import { ConnectionNotice } from "../../common/ConnectionNotice";
import { TrainingFact } from "../../common/TrainingFact";
import type { CardAction } from "../ModelCard";
import { DriftOnText } from "./DriftOnText";
import { DriftView } from "./DriftView";
import { FasterLoad } from "./FasterLoad";
import classes from "./ModelDrawer.module.css";
import { FileTable } from "../download/FileTable";
import { HistoryView } from "./HistoryView";
import { MemoryChart } from "../memory/MemoryChart";
import { MemoryProblem } from "../memory/MemoryProblem";
import { ModelBadges } from "../card/ModelBadges";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { ErrorActions } from "../status/ErrorActions";
import { StatusPill } from "../status/StatusPill";
import { WorkAction } from "../status/WorkAction";
import { UpdateNotice } from "./UpdateNotice";

const ArchitectureView = lazyWithRetry(() => import("../architecture/ArchitectureView"));
const Playground = lazyWithRetry(() => import("./Playground"));

interface Props {
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
          title="This model is not here any more"
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
            <ServerButton
              size="xs"
              color="red"
              variant="outline"
              disabled={busy}
              onClick={() => onAction(model, "delete")}
            >
              Delete…
            </ServerButton>
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
  load: "It was not loaded",
  unload: "It was not unloaded",
  generate: "It wrote no text",
};

/** What stopped a row; a ready one is still ready, and only its last use went wrong. */
function whatFailed(model: Model): string {
  if (model.status === "missing") return "Files are missing";
  if (model.status === "paused") return statusLabel(model);
  if (model.status !== "ready") return "It did not finish";
  return WENT_WRONG[model.error?.during ?? ""] ?? "Something went wrong with it";
}

/** What was fetched before a row stopped is not fetched again. */
function withKept({ status, disk_bytes }: Model, problem: ProblemView): ProblemView {
  if ((status !== "failed" && status !== "paused") || disk_bytes === 0) return problem;
  return { ...problem, message: `${problem.message} ${formatBytes(disk_bytes)} are kept.` };
}

interface WorkProps extends Pick<Props, "onAction"> {
  model: Model;
  busy: boolean;
}

/** The next step of a model that is not ready, and the end of its work. */
function WorkActions({ model, busy, onAction }: WorkProps) {
  const quantizing = model.status === "quantizing";
  return (
    <>
      <WorkAction
        model={model}
        busy={busy}
        onAction={onAction}
        size="xs"
        // All that can be done with a quantization is to give it up; what waits for room needs other steps first.
        variant={quantizing || waitsForDisk(model) ? "default" : "filled"}
      />
      {isActive(model.status) && !quantizing && (
        <ServerButton size="xs" color="red" variant="outline" disabled={busy} onClick={() => onAction(model, "cancel")}>
          Cancel and remove…
        </ServerButton>
      )}
    </>
  );
}

function Unload({ model, pending, onAction }: { model: Model } & Pick<Props, "pending" | "onAction">) {
  return (
    <ServerButton
      size="xs"
      variant="default"
      disabled={pending !== undefined || model.unloading}
      onClick={() => onAction(model, "unload")}
    >
      {pending?.op === "unload" || model.unloading ? "Unloading" : "Unload"}
    </ServerButton>
  );
}

/** Where it is loaded and what it takes there; its files may be gone meanwhile. */
/** What a worker holds of the model, in whatever dtype it was loaded. */
function holds({ measured_bytes }: Model["used_by"][number], { memory_measured_bytes }: Model): number | null {
  return measured_bytes ?? memory_measured_bytes;
}

function LoadedLines({ model, children }: { model: Model; children: React.ReactNode }) {
  return (
    <Group gap="xs">
      {model.used_by
        .filter((use) => use.kind === "loaded")
        .map((use) => (
          <Text key={use.id + use.name} size="sm" c="var(--y-good)" fw={600} className="num">
            {sentence(use.name)}
            {holds(use, model) !== null && `, ${formatBytes(holds(use, model))} measured`}
          </Text>
        ))}
      {children}
    </Group>
  );
}

interface ReadyProps extends Pick<Props, "live" | "pending" | "onAction"> {
  model: Model;
  /** Left out where it is being tried. */
  onTry: (() => void) | undefined;
}

/** Load or unload, try, quantize, train on, verify. */
function ReadyActions({ model, live, pending, onAction, onTry }: ReadyProps) {
  const busy = pending !== undefined;
  const loading = loadState(live?.progress);
  // A text that is asked for loads the model before its progress tells so.
  const asked = usePlaygroundStore((state) => trialOf(state, model.id).running);
  const training = useResource(model.id, (signal) => getCompatibility(model.id, signal)).data;
  // What is damaged is repaired before anything else is done with it.
  const damaged = training?.reasons.some(({ code }) => code === "checksum_mismatch") === true;
  const [forUse, forRepair] = damaged ? (["default", "filled"] as const) : (["filled", "default"] as const);
  return (
    <div>
      <Group gap="xs">
        {loading !== null ? (
          <ServerButton
            size="xs"
            variant="default"
            disabled={busy || loading === "stopping"}
            onClick={() => onAction(model, "cancel")}
          >
            Stop loading
          </ServerButton>
        ) : model.loaded ? (
          <>
            {onTry !== undefined && (
              <Button size="xs" variant={forUse} onClick={onTry}>
                Try it
              </Button>
            )}
            <Unload model={model} pending={pending} onAction={onAction} />
          </>
        ) : (
          <ServerButton
            size="xs"
            // Where a text is to be written, to ask for one is the first thing to do, and loads it too.
            variant={onTry === undefined ? "default" : forUse}
            disabled={busy || asked}
            onClick={() => onAction(model, "load")}
          >
            {pending?.op === "load" || asked ? "Loading" : "Load"}
          </ServerButton>
        )}
        {model.quantization === "none" && (
          <ServerButton size="xs" variant="default" disabled={busy} onClick={() => onAction(model, "quantize-4bit")}>
            Quantize…
          </ServerButton>
        )}
        {(training ?? model.training)?.compatible !== false && (
          <Button size="xs" variant="default" component={Link} to={`/training/new?model=${model.id}`}>
            Train an SAE on this
          </Button>
        )}
        <ServerButton size="xs" variant={forRepair} disabled={busy} onClick={() => onAction(model, "verify")}>
          Verify the files
        </ServerButton>
      </Group>
      {training !== null && <TrainingFact training={training} />}
    </div>
  );
}

function Measured({ model }: { model: Model }) {
  if (model.memory_measured_bytes === null) return "not loaded yet";
  const gap = formatGap(model);
  return (
    <span className={classes.measured}>
      {formatBytes(model.memory_measured_bytes)}
      {gap !== null && (
        <span className={classes.gap} data-more={takesMore(model) || undefined}>
          {takesMore(model) && <TriangleAlert size={14} aria-hidden />}
          {gap}
        </span>
      )}
    </span>
  );
}

function Overview({ model, busy, onAction }: WorkProps) {
  const clipboard = useClipboard({ timeout: 1500 });
  const hub = useSystemStore((state) => state.system?.hub);
  const users = model.used_by.filter((use) => use.kind !== "loaded");
  const shape: [string, React.ReactNode][] = [
    ["Parameters", exact(model.num_parameters)],
    ["Architecture", model.architecture],
    ["Layers", exact(model.num_layers)],
    ["Hidden size", exact(model.hidden_size)],
    ["Attention heads", exact(model.num_attention_heads)],
    ["Key/value heads", exact(model.num_key_value_heads)],
    ["Intermediate size", exact(model.intermediate_size)],
    ["Vocabulary", exact(model.vocab_size)],
    [
      "Longest context",
      model.max_position_embeddings === null ? null : `${model.max_position_embeddings.toLocaleString("en")} tokens`,
    ],
    ["Stored as", model.dtype],
  ];
  const sizes: [string, React.ReactNode][] = [
    ["Precision", precision(model)],
    ["Memory, weights", weights(model)],
    ["Memory, measured", <Measured key="measured" model={model} />],
    ...(model.last_load_seconds === null
      ? []
      : [["Last load", formatSeconds(model.last_load_seconds)] satisfies [string, React.ReactNode]]),
    ...(model.last_unload === null || model.loaded
      ? []
      : [["Last unload", formatUnload(model.last_unload)] satisfies [string, React.ReactNode]]),
    ["Download", model.size_bytes === null ? null : formatBytes(model.size_bytes)],
    // While it comes or goes, the line above says it as it changes.
    ...(isActive(model.status) ? [] : [["On disk", formatDisk(model)] satisfies [string, React.ReactNode]]),
  ];
  const origin: [string, React.ReactNode][] = [
    ["Hub", model.endpoint.startsWith("http") ? hubName(model.endpoint, hub) : "none, imported from a folder"],
    ["Revision", model.revision],
    ["Commit", <CopyText key="commit" text={model.commit} label="commit" />],
    ["Licence", model.licence],
    ["Access", model.gated ? "gated; its terms were accepted" : "open"],
    ...(model.has_custom_code
      ? [["Code", "the repository brings code of its own, which is never run"] satisfies [string, React.ReactNode]]
      : []),
    ...model.remarks.map((remark): [string, React.ReactNode] => ["Remark", remark]),
    [
      "Folder",
      model.snapshot_path !== null ? (
        <CopyText key="path" text={model.snapshot_path} label="folder" />
      ) : isActive(model.status) ? (
        "told once it is here"
      ) : null,
    ],
    ["Fetched by", model.adopted ? "another tool, adopted from the shared cache" : "Modelyard"],
    ["Added", formatWhen(model.created_at)],
  ];
  return (
    <Stack gap="lg">
      {/* Asked anew once the model is here, or is so no more: of its files, or of its Hub. */}
      <Memory key={`${model.id} ${model.status === "ready"}`} model={model} busy={busy} onAction={onAction} />
      <FactList title="Dimensions" rows={shape} columns />
      <FactList title="Sizes" rows={sizes} />
      {model.drift !== null && <DriftView drift={model.drift} />}
      {model.status === "ready" && model.quantization !== "none" && <DriftOnText key={model.id} id={model.id} />}
      <FactList title="Origin" rows={origin} />
      {users.map((use) => (
        <Text key={use.id}>
          {use.kind === "training" ? <Link to={`/training/${use.id}`}>{sentence(use.name)}</Link> : sentence(use.name)}.
        </Text>
      ))}
      <section>
        <Group justify="space-between" mb={4}>
          <h3 className={classes.heading}>Use it</h3>
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<Code size={14} aria-hidden />}
            onClick={() => clipboard.copy(loadSnippet(model))}
          >
            {clipboard.copied ? "Copied" : "Copy code"}
          </Button>
        </Group>
        <pre className={classes.code}>{loadSnippet(model)}</pre>
      </section>
      {!isActive(model.status) && (
        <Group>
          {model.original_bytes > 0 && model.shared_bytes === 0 && (
            <ServerButton variant="default" disabled={busy} onClick={() => onAction(model, "drop-original")}>
              Remove the original files, {formatBytes(model.original_bytes)}…
            </ServerButton>
          )}
          <ServerButton color="red" variant="outline" disabled={busy} onClick={() => onAction(model, "delete")}>
            Delete…
          </ServerButton>
        </Group>
      )}
    </Stack>
  );
}

function precision({ quantization, dtype }: Model): string {
  const word = QUANTIZATION_LABEL[quantization];
  return quantization === "none" && dtype !== null ? `${word}, ${dtype}` : word;
}

/** Memory of the weights as it was computed, kept with the row. */
function weights(model: Model): string | null {
  if (model.memory_estimated_bytes === null) return null;
  const figure = formatBytes(model.memory_estimated_bytes);
  return model.memory_method === "approximate" ? `≈ ${figure}` : `${figure}, exact`;
}

function exact(value: number | null): string | null {
  if (value === null) return null;
  return value >= 1_000_000 ? `${value.toLocaleString("en")} (${formatCount(value)})` : value.toLocaleString("en");
}

interface FactListProps {
  title: string;
  rows: [string, React.ReactNode][];
  columns?: boolean;
}

function FactList({ title, rows, columns = false }: FactListProps) {
  return (
    <section>
      <h3 className={classes.heading}>{title}</h3>
      <Facts columns={columns}>
        {rows.map(([name, value]) => (
          <Fact key={name} name={name}>
            {value}
          </Fact>
        ))}
      </Facts>
    </section>
  );
}

/** What the model needs in any precision, context and batch; its Hub is asked only until the model is here. */
function Memory({ model, busy, onAction }: WorkProps) {
  const known = model.status === "ready" || model.endpoint.startsWith("http");
  const plan = useMemoryPlan(
    known
      ? {
          row: model.id,
          model_id: model.model_id,
          revision: model.commit,
          longest: model.max_position_embeddings,
        }
      : null,
  );
  if (!known) return null;
  return (
    <div>
      <MemoryChart
        title="Memory to run it"
        plan={plan}
        selected={model.quantization}
        problem={
          plan.problem !== null && (
            <MemoryProblem
              model={model}
              problem={plan.problem}
              weights={weights(model)}
              busy={busy}
              onVerify={() => onAction(model, "verify")}
              onRetry={plan.reload}
            />
          )
        }
      />
      <FasterLoad model={model} estimate={plan.estimate} busy={busy} />
    </div>
  );
}

function Files({ model, live }: { model: Model } & Pick<Props, "live">) {
  // What is on the disk changes with the row, and with every file that comes.
  const files = useResource(
    `${model.id}@${model.updated_at}@${live?.progress?.files_done ?? ""}`,
    (signal) => listFiles(model.id, signal),
    model.id,
  );
  if (files.problem !== null)
    return (
      <ProblemAlert title="The list of files is not available" problem={files.problem}>
        <TryAgain onClick={files.reload} />
      </ProblemAlert>
    );
  if (files.data === null) return <Placeholder h={200} label="Loading the files" />;
  const { items } = files.data;
  if (items.length === 0) return <Text c="dimmed">Its files are listed once the Hub has named them.</Text>;
  const missing = items.filter((file) => !file.present).length;
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed" className="num">
        {items.length === 1 ? "1 file" : `${items.length} files`},{" "}
        {missing === 0 ? "all on the disk" : `${missing} not on the disk`}
      </Text>
      <FileTable
        files={items.map(({ path, size_bytes, sha256, present }) => ({
          path,
          size_bytes,
          sha256,
          remark: present ? null : isActive(model.status) ? "not here yet" : "not on the disk",
          state: present ? "normal" : isActive(model.status) ? "skipped" : "missing",
        }))}
        hashes
      />
    </Stack>
  );
}
