import { Button, Drawer, Group, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { useSearchParams } from "react-router";
import { getModelInfo } from "../../api/models";
import { useResource } from "../../hooks/useResource";
import { formatBytes, formatCount } from "../../lib/bytes";
import { fromRow } from "../../lib/problems";
import { isActive, loadSnippet, QUANTIZATION_WORD } from "../../lib/words";
import type { Live, Pending } from "../../stores/applyEvents";
import type { Model } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { EmptyState } from "../common/EmptyState";
import { ProblemAlert } from "../common/ProblemAlert";
import { ProgressLine } from "../common/ProgressLine";
import type { CardAction } from "./ModelCard";
import classes from "./ModelDrawer.module.css";
import { FileTable } from "./FileTable";
import { QuantBadge } from "./QuantBadge";
import { RowProblemSteps } from "./RowProblemSteps";
import { StatusPill } from "./StatusPill";

interface Props {
  /** Whether the address names a model; its row may be unknown. */
  opened: boolean;
  model: Model | undefined;
  loading: boolean;
  live: Live | undefined;
  pending: Pending | undefined;
  onClose: () => void;
  onAction: (model: Model, action: CardAction) => void;
}

/** Everything known of one model, at its own address. */
export function ModelDrawer({ opened, model, loading, live, pending, onClose, onAction }: Props) {
  return (
    <Drawer
      opened={opened}
      onClose={onClose}
      position="right"
      size="min(640px, 100vw)"
      title={
        model === undefined ? (
          loading ? (
            "Loading"
          ) : (
            "Not found"
          )
        ) : (
          <span className={classes.title}>
            <span className="truncate">{model.name}</span>
            <QuantBadge quantization={model.quantization} dtype={model.dtype} />
          </span>
        )
      }
    >
      {model !== undefined ? (
        <Details model={model} live={live} pending={pending} onAction={onAction} />
      ) : loading ? (
        <Stack>
          <Skeleton h={24} />
          <Skeleton h={160} />
        </Stack>
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

function Details({ model, live, pending, onAction }: { model: Model } & Pick<Props, "live" | "pending" | "onAction">) {
  const [parameters, setParameters] = useSearchParams();
  const tab = parameters.get("tab") === "files" ? "files" : "overview";
  return (
    <Stack gap="md">
      <Group justify="space-between" gap="xs">
        <CopyText text={model.model_id} label="repository id" />
        <StatusPill status={model.status} phase={live?.progress?.phase} pending={pending} />
      </Group>
      {(isActive(model.status) || live !== undefined) && <ProgressLine model={model} live={live} pending={pending} />}
      {model.error !== null && (
        <ProblemAlert title="It did not finish" problem={fromRow(model.error)}>
          {model.status === "failed" && (
            <Button
              size="compact-sm"
              variant="default"
              disabled={pending !== undefined}
              onClick={() => onAction(model, "resume")}
            >
              Retry
            </Button>
          )}
          <RowProblemSteps model={model} />
        </ProblemAlert>
      )}
      <Tabs
        value={tab}
        onChange={(value) => {
          const next = new URLSearchParams(parameters);
          if (value === "files") next.set("tab", "files");
          else next.delete("tab");
          setParameters(next, { replace: true });
        }}
        keepMounted={false}
      >
        <Tabs.List>
          <Tabs.Tab value="overview">Overview</Tabs.Tab>
          <Tabs.Tab value="files">Files</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="overview" pt="md">
          <Overview model={model} onDelete={() => onAction(model, "delete")} busy={pending !== undefined} />
        </Tabs.Panel>
        <Tabs.Panel value="files" pt="md">
          <Files model={model} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Overview({ model, onDelete, busy }: { model: Model; onDelete: () => void; busy: boolean }) {
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
      "Context",
      model.max_position_embeddings === null ? null : `${model.max_position_embeddings.toLocaleString("en")} tokens`,
    ],
    ["Stored as", model.dtype],
  ];
  const sizes: [string, React.ReactNode][] = [
    ["Precision", QUANTIZATION_WORD[model.quantization]],
    ["Memory, estimated", estimated(model)],
    [
      "Memory, measured",
      model.memory_measured_bytes === null ? "not loaded yet" : formatBytes(model.memory_measured_bytes),
    ],
    ["Download", model.size_bytes === null ? null : formatBytes(model.size_bytes)],
    ["On disk", formatBytes(model.disk_bytes)],
  ];
  const origin: [string, React.ReactNode][] = [
    ["Hub", model.endpoint],
    ["Revision", model.revision],
    ["Commit", <CopyText key="commit" text={model.commit} label="commit" />],
    ["Folder", model.snapshot_path === null ? null : <CopyText key="path" text={model.snapshot_path} label="folder" />],
    ["Fetched by", model.adopted ? "another tool, adopted from the shared cache" : "Modelyard"],
    ["Added", new Date(model.created_at).toLocaleString()],
  ];
  return (
    <Stack gap="lg">
      <Facts title="Dimensions" rows={shape} />
      <Facts title="Sizes" rows={sizes} />
      <Facts title="Origin" rows={origin} />
      {model.used_by.length > 0 && <Text>In use by {model.used_by.map((use) => use.name).join(", ")}.</Text>}
      <section>
        <h3 className={classes.heading}>Use it</h3>
        <pre className={classes.code}>{loadSnippet(model)}</pre>
      </section>
      {!isActive(model.status) && (
        <Group>
          <Button color="red" variant="outline" disabled={busy} onClick={onDelete}>
            Delete…
          </Button>
        </Group>
      )}
    </Stack>
  );
}

function estimated(model: Model): string | null {
  if (model.memory_estimated_bytes === null) return null;
  const figure = formatBytes(model.memory_estimated_bytes);
  return model.memory_method === "approximate" ? `≈ ${figure}, approximate` : `${figure}, exact`;
}

function exact(value: number | null): string | null {
  if (value === null) return null;
  return value >= 1_000_000 ? `${value.toLocaleString("en")} (${formatCount(value)})` : value.toLocaleString("en");
}

function Facts({ title, rows }: { title: string; rows: [string, React.ReactNode][] }) {
  return (
    <section>
      <h3 className={classes.heading}>{title}</h3>
      <dl className={`${classes.facts} num`}>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value ?? <span className={classes.unknown}>unknown</span>}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Files({ model }: { model: Model }) {
  const info = useResource(`${model.model_id}@${model.commit}`, (signal) =>
    getModelInfo(model.model_id, model.commit, signal),
  );
  if (info.loading) return <Skeleton h={200} aria-label="Loading the files" />;
  if (info.problem !== null)
    return (
      <ProblemAlert title="The list of files is not available" problem={info.problem}>
        <Button size="compact-sm" variant="default" onClick={info.reload}>
          Try again
        </Button>
      </ProblemAlert>
    );
  return info.data === null ? null : <FileTable files={info.data.files} hashes />;
}
