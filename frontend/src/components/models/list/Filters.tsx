import { Button } from "@mantine/core";
import { Link } from "react-router";
import { countFilters, type ModelFilter, STATUS_GROUP_LABEL } from "../../../lib/filter";
import { QUANTIZATION_LABEL } from "../../../lib/labels";
import type { ModelGroup } from "../../../lib/groups";
import { EmptyState } from "../../common/EmptyState";
import { SearchBar } from "../../common/SearchBar";
import type { Layout } from "../../../stores/listViewStore";
import { FilterMenu } from "./FilterMenu";
import { LayoutButtons } from "./LayoutButtons";

interface FiltersProps {
  filter: ModelFilter;
  groups: ModelGroup[];
  /** Whether they leave nothing to show, and so nothing to select. */
  empty: boolean;
  onChange: (changes: Record<string, string | null>) => void;
  searchField: React.RefObject<HTMLInputElement | null>;
  layout: Layout;
  small: boolean;
  selecting: boolean;
  onSelecting: (selecting: boolean) => void;
}

export function Filters(props: FiltersProps) {
  const { filter, groups, empty, onChange, searchField, layout, small, selecting, onSelecting } = props;
  return (
    <SearchBar
      ref={searchField}
      label="Search models"
      placeholder="Search"
      value={filter.q}
      onChange={(q) => onChange({ q })}
    >
      <FilterMenu filter={filter} groups={groups} onChange={onChange} />
      <LayoutButtons layout={layout} small={small} />
      {(selecting || !empty) && (
        <Button
          variant={selecting ? "light" : "default"}
          px="sm"
          aria-pressed={selecting}
          onClick={() => onSelecting(!selecting)}
        >
          Select
        </Button>
      )}
    </SearchBar>
  );
}

export function formatCountOf(shown: number, all: number): string {
  if (shown < all) return `${shown} of ${all} models`;
  return all === 1 ? "1 model" : `${all} models`;
}

export function NothingMatches({ filter, onClear }: { filter: ModelFilter; onClear: () => void }) {
  const parts = [
    filter.q === "" ? null : `“${filter.q}”`,
    filter.status === null ? null : `status ${STATUS_GROUP_LABEL[filter.status].toLowerCase()}`,
    filter.quantization === null ? null : `precision ${QUANTIZATION_LABEL[filter.quantization].toLowerCase()}`,
    filter.tag === null ? null : `tag ${filter.tag}`,
    filter.favourite ? "favourites" : null,
  ].filter((part) => part !== null);
  const searchOnly = countFilters(filter) === 0;
  return (
    <EmptyState
      title="No model matches"
      action={
        <>
          <Button variant="default" onClick={onClear}>
            {searchOnly ? "Clear the search" : "Clear the filters"}
          </Button>
          {filter.q !== "" && (
            <Button variant="default" component={Link} to={`/models?view=hub&find=${encodeURIComponent(filter.q)}`}>
              Search the Hub for it
            </Button>
          )}
        </>
      }
    >
      The {searchOnly ? "search" : "filter"} is {parts.join(", ")}.
    </EmptyState>
  );
}
