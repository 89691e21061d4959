import { Stack, Text, Tooltip, UnstyledButton } from "@mantine/core";
import { Info } from "lucide-react";
import { useResource } from "../../../hooks/useResource";
import { formatCount } from "../../../lib/bytes";
import { flagLabel } from "../../../lib/hooks";
import type { PretrainedSource } from "../../../lib/labels";
import type { Architecture } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { Fact, Facts } from "../../common/Facts";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { Subheading } from "../../common/Subheading";
import { TryAgain } from "../../common/TryAgain";
import classes from "./ArchitectureView.module.css";
import { HookTable } from "./HookTable";
import { ModuleTree } from "./ModuleTree";
import { VerdictLabel } from "../../common/VerdictLabel";

interface Props {
  /** Names what `load` fetches. */
  about: string;
  load: (signal: AbortSignal) => Promise<Architecture>;
  source: PretrainedSource;
}

/** What a model is made of and where it can be read, found without its weights. */
export default function ArchitectureView({ about, load, source }: Props) {
  const architecture = useResource(about, load);
  if (architecture.problem !== null)
    return (
      <ProblemAlert title="The architecture is not available" problem={architecture.problem}>
        <TryAgain onClick={architecture.reload} />
      </ProblemAlert>
    );
  if (architecture.data === null) return <Placeholder h={160} label="Building the model without its weights" />;
  return <Structure architecture={architecture.data} source={source} />;
}

function Structure({ architecture, source }: { architecture: Architecture; source: PretrainedSource }) {
  const { hook_points: points, layers_path: layers, final_norm: norm } = architecture;
  // What is tied has a row of its own.
  const flags = architecture.flags.filter((flag) => flag !== "tied_weights" || architecture.tied.length === 0);
  return (
    <Stack gap="lg">
      <Facts columns={280}>
        <Fact name="Class">
          {architecture.model_class}, type {architecture.model_type}
        </Fact>
        <Fact name="Parameters">
          {architecture.num_parameters.toLocaleString("en")} ({formatCount(architecture.num_parameters)})
        </Fact>
        {DIMENSIONS.map(([field, name, unit]) => (
          <Fact key={field} name={name}>
            {sized(architecture.dimensions[field], unit)}
          </Fact>
        ))}
        <Fact name="Blocks">
          {layers === null ? "not found" : <CopyText text={layers} label="path of the blocks" />}
        </Fact>
        <Fact name="Final norm">
          {norm == null ? "unknown" : <CopyText text={norm} label="path of the final norm" />}
        </Fact>
        {architecture.tied.length > 0 && (
          <Fact name="Tied" wide>
            {architecture.tied.map(([target, origin]) => (
              <span key={target} className={classes.tied}>
                <CopyText text={target} label="path" /> = <CopyText text={origin} label="path" />
              </span>
            ))}
            <span className={classes.quiet}>stored once and counted once</span>
          </Fact>
        )}
      </Facts>
      {flags.length > 0 && <Flags flags={flags} />}
      <section>
        <Subheading>Hook points</Subheading>
        <Text size="sm" component="div" mb="xs">
          {architecture.verified ? (
            <>
              <VerdictLabel verdict="fits">Verified</VerdictLabel> by a forward pass without weights: what each block
              returns is what the next one receives.
            </>
          ) : (
            <>
              <VerdictLabel verdict="tight">Unverified</VerdictLabel>: {architecture.reason ?? "no reason was given."}{" "}
              Check a point before relying on it.
            </>
          )}
        </Text>
        {points.length > 0 && <HookTable architecture={architecture} source={source} />}
      </section>
      <section>
        <Subheading>Modules</Subheading>
        <ModuleTree tree={architecture.tree} layersPath={layers} points={points} />
      </section>
    </Stack>
  );
}

const DIMENSIONS = [
  ["num_layers", "Layers"],
  ["hidden_size", "Hidden size"],
  ["num_attention_heads", "Attention heads"],
  ["num_key_value_heads", "Key/value heads"],
  ["head_dim", "Head size"],
  ["intermediate_size", "Intermediate size"],
  ["vocab_size", "Vocabulary"],
  ["max_position_embeddings", "Longest context", "tokens"],
] as const;

function sized(value: number | null | undefined, unit: string | undefined): string | null {
  if (value == null) return null;
  return unit === undefined ? value.toLocaleString("en") : `${value.toLocaleString("en")} ${unit}`;
}

function Flags({ flags }: { flags: string[] }) {
  return (
    <ul className={classes.flags} aria-label="Special properties">
      {flags.map((flag) => {
        const { word, meaning } = flagLabel(flag);
        return (
          <li key={flag}>
            <Tooltip
              label={meaning}
              disabled={meaning === null}
              multiline
              w={280}
              events={{ hover: true, focus: true, touch: true }}
            >
              <UnstyledButton className={classes.flag}>
                {word}
                {meaning !== null && <Info size={12} aria-hidden />}
              </UnstyledButton>
            </Tooltip>
          </li>
        );
      })}
    </ul>
  );
}
