import { Button, Text } from "@mantine/core";
import { useEffect, useRef } from "react";
import type { HubResults } from "../../../hooks/useHubSearch";
import { countHubFilters, type HubQuery, NO_HUB_FILTER } from "../../../lib/hub";
import { parseModelReference } from "../../../lib/modelId";
import type { Model, SearchItem } from "../../../types/model";
import { EmptyState } from "../../common/EmptyState";
import { ProblemAlert } from "../../common/ProblemAlert";
import { moveByArrows } from "../list/arrows";
import { HubHit } from "./HubHit";
import classes from "./HubView.module.css";

interface Props {
  results: HubResults;
  items: SearchItem[];
  query: HubQuery;
  here: Map<string, Model[]>;
  chosen: string | null;
  onChange: (changes: Record<string, string | null>) => void;
  onDownload: (modelId: string) => void;
}

/** The models found, and the way to more of them. */
export function HubHits({ results, items, query, here, chosen, onChange, onDownload }: Props) {
  const list = useRef<HTMLUListElement>(null);
  /** How many there were when more were asked for by hand. */
  const asked = useRef<number | null>(null);

  useEffect(() => {
    if (asked.current === null || items.length <= asked.current) return;
    // The button that had the focus has moved down or gone.
    list.current?.querySelector<HTMLElement>(`[data-card-index="${asked.current}"] [data-card-link]`)?.focus();
    asked.current = null;
  }, [items.length]);

  if (items.length === 0 && !results.hasMore)
    return <NothingFound query={query} onChange={onChange} onDownload={onDownload} />;
  return (
    <>
      <ul
        ref={list}
        className={classes.list}
        aria-label="Models on the Hub"
        aria-busy={results.loading}
        onKeyDown={(event) => moveByArrows(event, list.current, { ArrowDown: 1, ArrowUp: -1 })}
      >
        {items.map((item, index) => (
          <HubHit
            key={item.model_id}
            item={item}
            index={index}
            rows={here.get(item.model_id) ?? []}
            selected={item.model_id === chosen}
            onSelect={(hit) => onChange({ hit })}
            onDownload={onDownload}
          />
        ))}
      </ul>
      {results.moreProblem !== null && (
        <ProblemAlert title="More models could not be loaded" problem={results.moreProblem} />
      )}
      <div className={classes.more}>
        <Text size="sm" c="dimmed" className="num" role="status">
          {items.length === 1 ? "1 model" : `${items.length} models`}
          {results.hasMore && ", more on the Hub"}
        </Text>
        {results.hasMore && (
          <Button
            variant="default"
            loading={results.loadingMore}
            onClick={() => {
              asked.current = items.length;
              results.more();
            }}
          >
            Load more
          </Button>
        )}
      </div>
    </>
  );
}

function NothingFound({ query, onChange, onDownload }: Pick<Props, "query" | "onChange" | "onDownload">) {
  if (countHubFilters(query) > 0)
    return (
      <EmptyState
        title="No results with these filters"
        action={
          <Button variant="default" onClick={() => onChange(NO_HUB_FILTER)}>
            Clear the filters
          </Button>
        }
      >
        {query.fitting || query.size !== null
          ? "Models whose number of parameters the Hub does not know are left out. In 8-bit or 4-bit more of them may fit."
          : "All filters must match."}
      </EmptyState>
    );
  const nameable = query.find === "" || parseModelReference(query.find) !== null;
  return (
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
  );
}
