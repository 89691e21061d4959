import { Skeleton, Text } from "@mantine/core";
import { useDebouncedValue, useMediaQuery } from "@mantine/hooks";
import { useMemo, useRef } from "react";
import { useSearchParams } from "react-router";
import { useHubSearch } from "../../../hooks/useHubSearch";
import { useModelList } from "../../../hooks/useModels";
import { hubSearch, readHubQuery } from "../../../lib/hub";
import { useSystemStore } from "../../../stores/systemStore";
import type { Model } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { SearchBar } from "../../common/SearchBar";
import { TryAgain } from "../../common/TryAgain";
import { HubFilters } from "./HubFilters";
import { HubHits } from "./HubHits";
import { HubPane } from "./HubPane";
import { HubUnreachable } from "./HubUnreachable";
import classes from "./HubView.module.css";
import { RealModelsHint } from "./RealModelsHint";

const SEARCH_DELAY_MS = 250;
const PAGE_SIZE = 24;

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
  const [architecture] = useDebouncedValue(query.architecture, SEARCH_DELAY_MS);
  const hub = useSystemStore((state) => state.system?.hub);
  const builtin = hub?.endpoint_source === "builtin";
  const failed = useSystemStore((state) => state.error !== null);
  const narrow = useMediaQuery("(max-width: 62em)", false, { getInitialValueInEffect: false });
  const list = useRef<HTMLDivElement>(null);
  const asked = hubSearch({ ...query, find, architecture }, PAGE_SIZE);
  const results = useHubSearch(`${hub?.endpoint ?? ""} ${JSON.stringify(asked)}`, asked);
  const models = useModelList();
  const here = useMemo(() => rowsByName(models), [models]);
  const chosen = parameters.get("hit");

  function close() {
    onChange({ hit: null });
    // Where it was opened from, so that the keyboard goes on there.
    list.current?.querySelector<HTMLElement>("[data-selected=true] [data-card-link]")?.focus();
  }

  return (
    <section aria-label="The Hub">
      <SearchBar
        ref={searchField}
        label="Search the Hub"
        placeholder="Part of a name"
        value={query.find}
        onChange={(value) => onChange({ find: value })}
      >
        <HubFilters query={query} ordered={!builtin} onChange={onChange} />
      </SearchBar>
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
              {find === "" && query.task === null && " Type to search; until then, text-generation models are listed."}
            </>
          )}
        </Text>
      ) : (
        !failed && <Skeleton className={classes.aboutToCome} mb="sm" />
      )}
      <div className={classes.columns} data-open={chosen !== null && !narrow}>
        <div ref={list} className={classes.results}>
          {results.problem !== null ? (
            results.problem.code === "hub_unreachable" ? (
              <HubUnreachable problem={results.problem} onRetry={results.reload} />
            ) : (
              <ProblemAlert title="The search failed" problem={results.problem}>
                <TryAgain onClick={results.reload} />
              </ProblemAlert>
            )
          ) : results.items === null ? (
            <Placeholder h={288} label={builtin ? "Searching the sample Hub" : "Searching the Hub"} />
          ) : (
            <HubHits
              results={results}
              items={results.items}
              query={query}
              here={here}
              chosen={chosen}
              onChange={onChange}
              onDownload={onDownload}
            />
          )}
        </div>
        {chosen !== null && (
          <HubPane
            key={chosen}
            modelId={chosen}
            item={results.items?.find((item) => item.model_id === chosen)}
            rows={here.get(chosen) ?? []}
            alone={narrow}
            onClose={close}
            onDownload={onDownload}
          />
        )}
      </div>
    </section>
  );
}

/** The rows of each name: those that are ready before others, and the newest of those first. */
function rowsByName(models: Model[]): Map<string, Model[]> {
  const rows = new Map<string, Model[]>();
  for (const model of models)
    for (const name of new Set([model.model_id, model.canonical_id]))
      rows.set(name, [...(rows.get(name) ?? []), model]);
  for (const of of rows.values())
    of.sort(
      (a, b) =>
        Number(b.status === "ready") - Number(a.status === "ready") ||
        (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0),
    );
  return rows;
}
