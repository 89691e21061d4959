import { Group, Stack, Text } from "@mantine/core";
import { Link } from "react-router";
import { TriangleAlert } from "lucide-react";
import { useMemoryPlan } from "../../../hooks/useMemoryPlan";
import { formatBytes, formatCount, formatSeconds } from "../../../lib/bytes";
import { formatWhen } from "../../../lib/dates";
import { hubName } from "../../../lib/hubName";
import { formatGap, formatUnload, formatWeights, takesMore } from "../../../lib/measured";
import { isActive, loadSnippet, sentence } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import { useSystemStore } from "../../../stores/systemStore";
import type { Model } from "../../../types/model";
import { CodeBlock } from "../../common/CodeBlock";
import { CopyCode } from "../../common/CopyCode";
import { CopyText } from "../../common/CopyText";
import { Fact, Facts } from "../../common/Facts";
import { Subheading } from "../../common/Subheading";
import { DriftOnText } from "./DriftOnText";
import { DriftView } from "./DriftView";
import { FasterLoad } from "./FasterLoad";
import classes from "./Overview.module.css";
import { MemoryChart } from "../memory/MemoryChart";
import { MemoryProblem } from "../memory/MemoryProblem";
import type { WorkProps } from "./ModelActions";

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

/** What an adapter changes, and how much. */
function adapterFacts({ adapter, base_id: base }: Model): [string, React.ReactNode][] {
  if (adapter === null) return [];
  const name = adapter.base_revision === null ? adapter.base_model : `${adapter.base_model}@${adapter.base_revision}`;
  return [
    [
      "Adapter of",
      base === null ? (
        `${name} (not installed)`
      ) : (
        <Link key="base" to={modelPath(base)}>
          {name}
        </Link>
      ),
    ],
    ["Rank", exact(adapter.rank)],
    ["Changes", adapter.target_modules.join(", ")],
  ];
}

export function Overview({ model, busy, onAction }: WorkProps) {
  const snippet = loadSnippet(model);
  const hub = useSystemStore((state) => state.system?.hub);
  const users = model.used_by.filter((use) => use.kind !== "loaded");
  const shape: [string, React.ReactNode][] = [
    ...adapterFacts(model),
    ["Layers", exact(model.num_layers)],
    ["Hidden size", exact(model.hidden_size)],
    ["Attention heads", exact(model.num_attention_heads)],
    ["Key/value heads", exact(model.num_key_value_heads)],
    ["Intermediate size", exact(model.intermediate_size)],
    ["Vocabulary", exact(model.vocab_size)],
  ];
  const sizes: [string, React.ReactNode][] = [
    ["Memory, measured", <Measured key="measured" model={model} />],
    ...(model.last_load_seconds === null
      ? []
      : [["Last load", formatSeconds(model.last_load_seconds)] satisfies [string, React.ReactNode]]),
    ...(model.last_unload === null || model.loaded
      ? []
      : [["Last unload", formatUnload(model.last_unload)] satisfies [string, React.ReactNode]]),
    ["Download", model.size_bytes === null ? null : formatBytes(model.size_bytes)],
  ];
  const origin: [string, React.ReactNode][] = [
    ["Hub", model.endpoint.startsWith("http") ? hubName(model.endpoint, hub) : `none, ${madeHow(model)}`],
    ["Revision", model.revision],
    ["Commit", <CopyText key="commit" text={model.commit} label="commit" />],
    ...(model.converted_from === null
      ? []
      : [["Converted from", `${model.converted_from} (GGUF)`] satisfies [string, React.ReactNode]]),
    ...(model.merged_from === null
      ? []
      : [
          ["Merged from", `${model.merged_from.adapter_model} and ${model.merged_from.base_model}`] satisfies [
            string,
            React.ReactNode,
          ],
        ]),
    ["Access", model.gated ? "gated; its terms were accepted" : "open"],
    ...(model.has_custom_code
      ? [["Code", "the repository contains custom code, which is never run"] satisfies [string, React.ReactNode]]
      : []),
    ...model.remarks.map((remark): [string, React.ReactNode] => ["Remark", remark]),
    [
      "Folder",
      model.snapshot_path !== null ? (
        <CopyText key="path" text={model.snapshot_path} label="folder" />
      ) : isActive(model.status) ? (
        "available after the download"
      ) : null,
    ],
    ["Downloaded by", model.adopted ? "another tool (found in the shared cache)" : "Modelyard"],
    ["Added", formatWhen(model.created_at)],
  ];
  return (
    <Stack gap="lg">
      {/* Asked anew once the model is here, or is so no more: of its files, or of its Hub. */}
      <Memory key={`${model.id} ${model.status === "ready"}`} model={model} busy={busy} onAction={onAction} />
      <FactList title="Dimensions" rows={shape} columns={280} />
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
          <Subheading>Use in Python</Subheading>
          <CopyCode code={snippet} />
        </Group>
        <CodeBlock label="Code that loads it">{snippet}</CodeBlock>
      </section>
    </Stack>
  );
}

function exact(value: number | null): string | null {
  if (value === null) return null;
  return value >= 1_000_000 ? `${value.toLocaleString("en")} (${formatCount(value)})` : value.toLocaleString("en");
}

interface FactListProps {
  title: string;
  rows: [string, React.ReactNode][];
  columns?: number;
}

function FactList({ title, rows, columns }: FactListProps) {
  return (
    <section>
      <Subheading>{title}</Subheading>
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
        title="Memory needed"
        plan={plan}
        selected={model.quantization}
        problem={
          plan.problem !== null && (
            <MemoryProblem
              model={model}
              problem={plan.problem}
              weights={formatWeights(model)}
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

function madeHow({ merged_from }: Model): string {
  return merged_from === null ? "imported from a folder" : "merged here";
}
