import { Button, Checkbox, NativeSelect, Skeleton, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { KeyRound } from "lucide-react";
import { useMemo } from "react";
import { Link, useLocation, useSearchParams } from "react-router";
import { searchHub } from "../../../api/models";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useModelList } from "../../../hooks/useModels";
import { useResource } from "../../../hooks/useResource";
import { HALF_PRECISION_BYTES, roughFit } from "../../../lib/fit";
import {
  HIT_COUNTS,
  hitFacts,
  type HubQuery,
  isGated,
  readHubQuery,
  SEARCH_SORT_LABEL,
  SEARCH_SORTS,
} from "../../../lib/hub";
import { parseModelReference } from "../../../lib/modelId";
import { ACCESS_LABEL } from "../../../lib/labels";
import { modelPath } from "../../../lib/modelPath";
import { useGhostStore } from "../../../stores/ghostStore";
import { useSystemStore } from "../../../stores/systemStore";
import type { Model, SearchItem } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { EmptyState } from "../../common/EmptyState";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import { SearchBar } from "../../common/SearchBar";
import { FitHint } from "../memory/FitHint";
import { HubUnreachable } from "./HubUnreachable";
import classes from "./HubView.module.css";
import { RealModelsHint } from "./RealModelsHint";
import { StatusPill } from "../status/StatusPill";

const SEARCH_DELAY_MS = 250;

interface Props {
  searchField: React.RefObject<HTMLInputElement | null>;
  onChange: (changes: Record<string, string | null>) => void;
  /** Opens the form with this model. */
  onDownload: (modelId: string) => void;
}

/** The Hub in use, searched: what there is, whether it fits, and what of it is here. Its words live in the address. */
export function HubView({ searchField, onChange, onDownload }: Props) {
  const [parameters] = useSearchParams();
  const query = readHubQuery(parameters);
  const [find] = useDebouncedValue(query.find.trim(), SEARCH_DELAY_MS);
  const hub = useSystemStore((state) => state.system?.hub);
  const builtin = hub?.endpoint_source === "builtin";
  const failed = useSystemStore((state) => state.error !== null);
  const search = useResource(
    `${hub?.endpoint ?? ""} ${query.sort} ${query.limit} ${find}`,
    async (signal) => (await searchHub(find, query.limit, signal, query.sort)).items,
    "hub",
  );
  return (
    <section aria-label="The Hub">
      <Controls query={query} ordered={!builtin} searchField={searchField} onChange={onChange} />
      {hub !== undefined ? (
        <Text size="sm" c="dimmed" mb="sm">
          {builtin ? (
            <>
              The built-in sample Hub: samples, which are small models with random weights, and what this server holds.{" "}
              <RealModelsHint />
            </>
          ) : (
            <>
              Models on {hub.endpoint}.
              {find === "" && " Type to search; until then, text-generation models are listed."}
            </>
          )}
        </Text>
      ) : (
        !failed && <Skeleton className={classes.aboutToCome} mb="sm" />
      )}
      {search.problem !== null ? (
        search.problem.code === "hub_unreachable" ? (
          <HubUnreachable problem={search.problem} onRetry={search.reload} />
        ) : (
          <ProblemAlert title="The search failed" problem={search.problem}>
            <TryAgain onClick={search.reload} />
          </ProblemAlert>
        )
      ) : search.data === null ? (
        <Placeholder h={288} label={builtin ? "Searching the sample Hub" : "Searching the Hub"} />
      ) : (
        <Hits items={search.data} query={query} busy={search.loading} onChange={onChange} onDownload={onDownload} />
      )}
    </section>
  );
}

interface ControlsProps extends Pick<Props, "searchField" | "onChange"> {
  query: HubQuery;
  /** Whether the Hub knows what to put first: nobody counts the downloads and likes of the sample Hub. */
  ordered: boolean;
}

function Controls({ query, ordered, searchField, onChange }: ControlsProps) {
  return (
    <SearchBar
      ref={searchField}
      label="Search the Hub"
      placeholder="Part of a name"
      value={query.find}
      onChange={(find) => onChange({ find })}
    >
      {ordered && (
        <NativeSelect
          aria-label="Order"
          value={query.sort}
          onChange={(event) => onChange({ by: event.currentTarget.value })}
          data={SEARCH_SORTS.map((value) => ({ value, label: SEARCH_SORT_LABEL[value] }))}
        />
      )}
      <NativeSelect
        aria-label="How many"
        value={String(query.limit)}
        onChange={(event) => onChange({ show: event.currentTarget.value })}
        data={HIT_COUNTS.map((count) => ({ value: String(count), label: `${count} results` }))}
      />
      <Checkbox
        label="Only what fits this machine"
        checked={query.fitting}
        onChange={(event) => onChange({ fits: event.currentTarget.checked ? "1" : null })}
      />
    </SearchBar>
  );
}

interface HitsProps extends Pick<Props, "onChange" | "onDownload"> {
  items: SearchItem[];
  query: HubQuery;
  busy: boolean;
}

function Hits({ items, query, busy, onChange, onDownload }: HitsProps) {
  const { search } = useLocation();
  const devices = useSystemStore((state) => state.system?.devices);
  const models = useModelList();
  const here = useMemo(() => rowsByName(models), [models]);
  const shown = query.fitting
    ? items.filter((item) => ["fits", "tight"].includes(roughFit(item.num_parameters, devices ?? []).verdict))
    : items;
  const nameable = query.find === "" || parseModelReference(query.find) !== null;
  if (shown.length === 0)
    return items.length === 0 ? (
      <EmptyState
        title={query.find === "" ? "This Hub has no models" : `No results for “${query.find}”`}
        action={
          nameable ? (
            <Button variant="default" onClick={() => onDownload(query.find)}>
              {query.find === "" ? "Look up a full name" : "Look up exactly this name"}
            </Button>
          ) : undefined
        }
      >
        The search covers names only. Private models need a token with access to them.
      </EmptyState>
    ) : (
      <EmptyState
        title="No results fit this machine"
        action={
          <Button variant="default" onClick={() => onChange({ fits: null })}>
            Clear the filter
          </Button>
        }
      >
        The filter is “only what fits this machine”; {items.length === 1 ? "1 model is" : `${items.length} models are`}{" "}
        hidden. In 8-bit or 4-bit some of them may fit.
      </EmptyState>
    );
  return (
    <ul className={classes.grid} aria-label="Models on the Hub" aria-busy={busy}>
      {shown.map((item) => (
        <Hit key={item.model_id} item={item} row={here.get(item.model_id)} search={search} onDownload={onDownload} />
      ))}
    </ul>
  );
}

/** The row to open for a name: one that is ready before others, and the newest of those. */
function rowsByName(models: Model[]): Map<string, Model> {
  const rows = new Map<string, Model>();
  for (const model of models) {
    for (const name of [model.model_id, model.canonical_id]) {
      const known = rows.get(name);
      const better = known === undefined || (known.status !== "ready" && model.status === "ready");
      if (better || (known.status === model.status && known.created_at < model.created_at)) rows.set(name, model);
    }
  }
  return rows;
}

interface HitProps {
  item: SearchItem;
  row: Model | undefined;
  search: string;
  onDownload: (modelId: string) => void;
}

function Hit({ item, row, search, onDownload }: HitProps) {
  const away = useOfflineReason();
  const name = item.model_id.split("/").at(-1) ?? item.model_id;
  const point = (on: boolean) => useGhostStore.getState().show(on && row === undefined ? ghostOf(item, name) : null);
  return (
    <li
      className={classes.hit}
      onPointerEnter={() => point(true)}
      onPointerLeave={() => point(false)}
      onFocus={() => point(true)}
      onBlur={() => point(false)}
    >
      <div className={classes.head}>
        <h2 className={classes.name}>{name}</h2>
        <FitHint parameters={item.num_parameters} />
      </div>
      <CopyText text={item.model_id} label="repository id" />
      <p className={`${classes.facts} num`}>
        {[...hitFacts(item), item.pipeline_tag, item.is_sample ? "sample" : null]
          .filter((fact) => fact !== null)
          .join(" · ")}
      </p>
      <div className={classes.foot}>
        <span className={classes.state}>
          {row !== undefined && <StatusPill status={row.status} />}
          {isGated(item) && (
            <span className={classes.gated} title={ACCESS_LABEL[item.access]}>
              <KeyRound size={12} aria-hidden />
              {item.access === "unknown" ? "Gated" : ACCESS_LABEL[item.access]}
            </span>
          )}
        </span>
        <span className={classes.actions}>
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
            variant={row === undefined ? "filled" : "default"}
            disabled={away !== undefined}
            title={away}
            onClick={() => onDownload(item.model_id)}
            aria-label={row === undefined ? `Download ${name}` : `Get another precision of ${name}`}
          >
            {row === undefined ? "Download" : "Get another precision"}
          </Button>
        </span>
      </div>
    </li>
  );
}

/** As 16-bit weights; how much of the repository would be fetched only the preview knows. */
function ghostOf(item: SearchItem, label: string) {
  const memory = item.num_parameters === null ? null : item.num_parameters * HALF_PRECISION_BYTES;
  return { label, quantization: "none" as const, wanted: { memory, cache: null, artifact: 0 } };
}
