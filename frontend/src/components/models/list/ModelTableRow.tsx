import { Puzzle } from "lucide-react";
import { memo } from "react";
import { Link } from "react-router";
import { useModelsStore } from "../../../stores/modelsStore";
import { formatBytes, formatCount, fraction } from "../../../lib/bytes";
import type { Column } from "../../../lib/columns";
import { memoryOf } from "../../../lib/filter";
import { diskOf, type ModelGroup, variantLabel, variantName } from "../../../lib/groups";
import { statusLabel } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import type { OnAction } from "../card/actions";
import { CardMenu } from "../card/CardMenu";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { FavouriteButton } from "../labels/FavouriteButton";
import { TagLinks } from "../labels/LabelLines";
import classes from "./ModelTable.module.css";

interface Props {
  group: ModelGroup;
  columns: Column[];
  search: string;
  /** Chooses it, while several are chosen. */
  select: React.ReactNode;
  onAction: OnAction;
}

/** The cells of one repository. */
export const ModelTableRow = memo(function ModelTableRow({ group, columns, search, select, onAction }: Props) {
  const { head } = group;
  return (
    <>
      <div role="cell" className={classes.name}>
        {select}
        <FavouriteButton model={head} />
        <Link to={modelPath(head.id, "overview", search)} data-card-link className="truncate" title={head.model_id}>
          {head.name}
        </Link>
      </div>
      {columns.map((column) => (
        <div key={column} role="cell" className="num">
          <Cell column={column} group={group} search={search} />
        </div>
      ))}
      <div role="cell">
        <CardMenu group={group} onAction={onAction} />
      </div>
    </>
  );
});

function Cell({ column, group, search }: { column: Column } & Pick<Props, "group" | "search">) {
  const { head, variants } = group;
  switch (column) {
    case "parameters":
      return head.num_parameters === null ? "unknown" : formatCount(head.num_parameters);
    case "precisions":
      return <Precisions group={group} search={search} />;
    case "memory":
      return <span title={variants.map(memoryLine).join("\n")}>{rangeOf(variants.map(memoryOf))}</span>;
    case "disk":
      return formatBytes(diskOf(variants));
    case "state":
      return <State group={group} />;
    case "used":
      return variants.flatMap(({ used_by }) => used_by.map(({ name }) => name)).join(", ");
    case "tags":
      return <TagLinks model={head} />;
  }
}

function memoryLine(model: ModelGroup["head"]): string {
  return `${variantName(model)}: ${formatBytes(memoryOf(model))}`;
}

/** The least that a variant needs, and that there are others. */
function rangeOf(bytes: (number | null)[]): string {
  const known = bytes.filter((value) => value !== null);
  if (known.length === 0) return "unknown";
  const least = formatBytes(Math.min(...known));
  return known.length > 1 ? `${least} +` : least;
}

function Precisions({ group: { head, variants }, search }: Pick<Props, "group" | "search">) {
  return (
    <span className={classes.precisions}>
      {variants.map((model) => (
        <Link
          key={model.id}
          to={modelPath(model.id, "overview", search)}
          title={`${variantName(model)}, ${model.loaded ? "loaded" : statusLabel(model).toLowerCase()}`}
        >
          {model.adapter === null ? (
            <PrecisionBadge quantization={model.quantization} />
          ) : (
            <>
              <Puzzle size={12} aria-hidden /> {variantLabel(model, head)}
            </>
          )}
        </Link>
      ))}
    </span>
  );
}

/** What is most worth knowing of all variants: work under way, then what is loaded, then what is wrong. */
function State({ group: { variants } }: Pick<Props, "group">) {
  const moving = useModelsStore((state) => variants.find(({ id }) => state.live[id] !== undefined));
  const progress = useModelsStore((state) => (moving === undefined ? null : (state.live[moving.id]?.progress ?? null)));
  if (moving !== undefined) {
    const share = fraction(progress?.bytes_done, progress?.bytes_total);
    const word = moving.status === "ready" ? "Loading" : statusLabel(moving);
    return (
      <span data-tone="active">
        {word} {share !== null && `${Math.floor(share * 100)} %`}
      </span>
    );
  }
  if (variants.some(({ loaded }) => loaded)) return <span data-tone="good">Loaded</span>;
  const notReady = variants.find(({ status }) => status !== "ready");
  if (notReady === undefined) return "Ready";
  return <span data-tone={notReady.status === "failed" ? "bad" : undefined}>{statusLabel(notReady)}</span>;
}
