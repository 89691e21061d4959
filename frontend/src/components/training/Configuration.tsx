import { Anchor } from "@mantine/core";
import { Link } from "react-router";
import { useModel } from "../../hooks/useModels";
import { formatBytes, formatDuration } from "../../lib/bytes";
import { formatWhen } from "../../lib/dates";
import { deviceLabel } from "../../lib/fit";
import { ARCHITECTURE_LABEL, contextStartLabel } from "../../lib/training";
import { precisionLabel } from "../../lib/labels";
import { modelPath } from "../../lib/modelPath";
import type { Training } from "../../types/training";
import { CopyText } from "../common/CopyText";
import { Fact, Facts } from "../common/Facts";
import { Section } from "../common/Section";

export function Configuration({ training }: { training: Training }) {
  const model = useModel(training.model_id ?? "");
  const rows: [string, React.ReactNode][] = [
    [
      "Model",
      model === undefined ? (
        <span className="mono">{training.model_name}</span>
      ) : (
        <Anchor component={Link} to={modelPath(model.id)} className="mono">
          {training.model_name}
        </Anchor>
      ),
    ],
    [
      "Precision",
      precisionLabel({
        quantization: training.quantization,
        dtype: training.dtype === "auto" ? (model?.dtype ?? null) : training.dtype,
      }),
    ],
    ["Commit", <CopyText key="commit" text={training.commit} label="commit" />],
    ["Hook point", <CopyText key="hook" text={training.hook_point} label="hook point" />],
    ["Text", <CopyText key="data" text={training.dataset.path} label="path of the text" />],
    [
      "Column",
      <span key="column" className="mono">
        {training.dataset.column}
      </span>,
    ],
    ["Architecture", ARCHITECTURE_LABEL[training.architecture]],
    [
      "Width",
      `${training.d_in.toLocaleString("en")} → ${training.d_sae.toLocaleString("en")} (× ${training.expansion_factor})`,
    ],
    training.k === null ? ["L1 coefficient", training.l1_coefficient] : ["k", training.k],
    ["Tokens", training.training_tokens.toLocaleString("en")],
    ["Context", `${training.context_size.toLocaleString("en")} tokens`],
    ["Begins with", contextStartLabel(training.plan, training.beginning)],
    ["Skipped", `${training.skip_positions} positions at the start of each context`],
    ["Batch", `${training.batch_tokens.toLocaleString("en")} tokens`],
    ["Learning rate", training.learning_rate],
    ["Seed", training.seed],
    [
      "Device",
      training.device === "auto" ? `automatic: ${deviceLabel(training.plan.device)}` : deviceLabel(training.device),
    ],
    ["Checkpoint", `every ${formatDuration(training.checkpoint_seconds)}`],
    ["Memory, planned", formatBytes(training.plan.total_bytes)],
    ["Engine", training.engine],
    ["Requested", formatWhen(training.created_at)],
    ["Duration", duration(training)],
  ];
  return (
    <Section label="Configuration">
      <Facts columns={420}>
        {rows
          .filter(([, value]) => value !== null)
          .map(([name, value]) => (
            <Fact key={name} name={name}>
              {value}
            </Fact>
          ))}
      </Facts>
    </Section>
  );
}

function duration({ started_at, finished_at }: Training): string | null {
  if (started_at === null || finished_at === null) return null;
  return formatDuration((Date.parse(finished_at) - Date.parse(started_at)) / 1000);
}
