import { Button } from "@mantine/core";
import { CheckCircle2, Download, Heart, KeyRound } from "lucide-react";
import { Link, useLocation } from "react-router";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { formatBytes, formatCount } from "../../../lib/bytes";
import { isGated } from "../../../lib/hub";
import { ACCESS_LABEL } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import { useGhostStore } from "../../../stores/ghostStore";
import type { Model, Quantization, SearchItem } from "../../../types/model";
import { Pill } from "../../common/Pill";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import { FitHint } from "../memory/FitHint";
import { StatusPill } from "../status/StatusPill";
import classes from "./HubView.module.css";

interface HitProps {
  item: SearchItem;
  index: number;
  /** What is here of it, in any precision; the one to open first. */
  rows: Model[];
  selected: boolean;
  onSelect: (modelId: string) => void;
  onDownload: (modelId: string) => void;
}

export function HubHit({ item, index, rows, selected, onSelect, onDownload }: HitProps) {
  const { search } = useLocation();
  const away = useOfflineReason();
  const [row] = rows;
  const [owner, name] = splitName(item.model_id);
  const point = (on: boolean) => useGhostStore.getState().show(on && row === undefined ? ghostOf(item, name) : null);
  return (
    <li
      className={classes.hit}
      data-card-index={index}
      data-selected={selected}
      onPointerEnter={() => point(true)}
      onPointerLeave={() => point(false)}
      onFocus={() => point(true)}
      onBlur={() => point(false)}
    >
      <div className={classes.what}>
        <h2 className={classes.name}>
          <button
            type="button"
            className={classes.link}
            data-card-link
            aria-expanded={selected}
            onClick={() => onSelect(item.model_id)}
          >
            {owner !== null && <span className={classes.owner}>{owner}/</span>}
            {name}
          </button>
        </h2>
        <HitFacts item={item} />
        <HitState item={item} rows={rows} />
      </div>
      <div className={classes.actions}>
        {row !== undefined && (
          <Button
            size="compact-sm"
            variant="default"
            component={Link}
            to={modelPath(row.id, "overview", search)}
            aria-label={`Open ${name}`}
          >
            Open
          </Button>
        )}
        <Button
          size="compact-sm"
          variant="default"
          disabled={away !== undefined}
          title={away}
          onClick={() => onDownload(item.model_id)}
          aria-label={row === undefined ? `Download ${name}` : `Get another precision of ${name}`}
        >
          {row === undefined ? "Download" : "Get another precision"}
        </Button>
      </div>
    </li>
  );
}

/** What a Hub tells of a model; what is not known or zero is left out. */
export function HitFacts({ item }: { item: SearchItem }) {
  const { num_parameters: parameters, size_bytes: size, downloads, likes } = item;
  return (
    <p className={`${classes.facts} num`}>
      {parameters !== null && <span>{formatCount(parameters)} parameters</span>}
      {size !== null && <span>{formatBytes(size)}</span>}
      {item.licence !== null && <span>{item.licence}</span>}
      {item.pipeline_tag !== null && <span>{item.pipeline_tag}</span>}
      {downloads !== null && downloads > 0 && (
        <span className={classes.count}>
          <Download size={12} aria-hidden /> {formatCount(downloads)} downloads
        </span>
      )}
      {likes !== null && likes > 0 && (
        <span className={classes.count}>
          <Heart size={12} aria-hidden /> {likes === 1 ? "1 like" : `${formatCount(likes)} likes`}
        </span>
      )}
      {item.is_sample && <span>sample</span>}
    </p>
  );
}

/** Whether it fits, may be had, and is here. */
export function HitState({ item, rows }: { item: SearchItem; rows: Model[] }) {
  const here = new Set<Quantization>(rows.filter(({ status }) => status === "ready").map((row) => row.quantization));
  const [row] = rows;
  return (
    <div className={classes.state}>
      <FitHint bytes={item.weights_bytes} />
      {here.size > 0 ? (
        <>
          <Pill icon={CheckCircle2} tone="good">
            Installed
          </Pill>
          {[...here].map((quantization) => (
            <PrecisionBadge key={quantization} quantization={quantization} />
          ))}
        </>
      ) : (
        row !== undefined && <StatusPill status={row.status} />
      )}
      {isGated(item) && (
        <span className={classes.gated} title={ACCESS_LABEL[item.access]}>
          <KeyRound size={12} aria-hidden />
          {item.access === "unknown" ? "Gated" : ACCESS_LABEL[item.access]}
        </span>
      )}
    </div>
  );
}

/** The owner, null for a bare name such as gpt2, and the name. */
export function splitName(modelId: string): [string | null, string] {
  const [owner, name] = modelId.split("/", 2);
  return name === undefined ? [null, modelId] : [owner ?? null, name];
}

/** As stored; how much of the repository would be fetched only the preview knows. */
function ghostOf(item: SearchItem, label: string) {
  return { label, quantization: "none" as const, wanted: { memory: item.weights_bytes, cache: null, artifact: 0 } };
}
