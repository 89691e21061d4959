import { Checkbox } from "@mantine/core";
import { memo } from "react";
import { Link } from "react-router";
import { formatBytes, formatCount } from "../../lib/bytes";
import { diskOf, type ModelGroup } from "../../lib/groups";
import { modelPath } from "../../lib/modelPath";
import type { Device, Model } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { FactLine } from "../common/FactLine";
import type { OnAction } from "./card/actions";
import { CardMenu } from "./card/CardMenu";
import { ModelBadges } from "./card/ModelBadges";
import { Variant } from "./card/Variant";
import { FavouriteButton } from "./labels/FavouriteButton";
import { LabelLines } from "./labels/LabelLines";
import classes from "./ModelCard.module.css";

export interface Props {
  group: ModelGroup;
  /** Where it may fit; not known yet while undefined. */
  devices: Device[] | undefined;
  /** The search part of the addresses of details. */
  search: string;
  onAction: OnAction;
  onPoint: (model: Model | null) => void;
  /** While several are chosen: whether this one is; left out otherwise. */
  selected?: boolean | undefined;
  onSelect?: ((group: ModelGroup, selected: boolean) => void) | undefined;
}

/** A repository, with its precisions, conversions and adapters. */
export const ModelCard = memo(function ModelCard(props: Props) {
  const { group, devices, search, onAction, onPoint, selected, onSelect } = props;
  const { head, variants } = group;
  return (
    <article className={classes.card} data-selected={selected || undefined} aria-label={head.name}>
      <header className={classes.head}>
        {selected !== undefined && (
          <Checkbox
            aria-label={`Select ${head.name}`}
            checked={selected}
            onChange={(event) => onSelect?.(group, event.currentTarget.checked)}
          />
        )}
        <h2 className={classes.name}>
          <Link to={modelPath(head.id, "overview", search)} data-card-link>
            {head.name}
          </Link>
        </h2>
        <FavouriteButton model={head} />
        <CardMenu group={group} onAction={onAction} />
      </header>
      <CopyText text={head.model_id} label="repository id" />
      <FactLine facts={facts(group)} />
      <LabelLines model={head} />
      <ModelBadges model={head} filesHref={modelPath(head.id, "files", search)} />
      <div>
        {variants.map((model) => (
          <Variant
            key={model.id}
            model={model}
            head={head}
            devices={devices}
            search={search}
            onAction={onAction}
            onPoint={onPoint}
          />
        ))}
      </div>
    </article>
  );
});

/** What the model is, in a few words; what is not known is left out. */
function facts({ head, variants }: ModelGroup): string[] {
  const shape =
    head.num_layers !== null && head.hidden_size !== null ? `${head.num_layers} × ${head.hidden_size}` : null;
  const context = head.max_position_embeddings;
  return [
    head.num_parameters === null ? null : `${formatCount(head.num_parameters)} parameters`,
    head.quantization === "none" ? head.dtype : null,
    head.architecture ?? head.model_type,
    shape,
    context === null ? null : `${context.toLocaleString("en")} context`,
    head.licence,
    variants.length === 1 ? null : `${formatBytes(diskOf(variants))} on disk`,
  ].filter((fact) => fact !== null);
}
