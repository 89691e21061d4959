import { Button, Checkbox, NativeSelect } from "@mantine/core";
import { useMemo } from "react";
import {
  countFilters,
  countGroups,
  type ModelFilter,
  NO_FILTER,
  SORT_LABEL,
  SORTS,
  STATUS_GROUP_LABEL,
  STATUS_GROUPS,
  tagsOf,
} from "../../../lib/filter";
import { QUANTIZATION_LABEL } from "../../../lib/labels";
import type { ModelGroup } from "../../../lib/groups";
import { FilterPopover } from "../../common/FilterPopover";

interface Props {
  filter: ModelFilter;
  groups: ModelGroup[];
  onChange: (changes: Record<string, string | null>) => void;
}

/** What narrows the list besides its search, and its order. */
export function FilterMenu({ filter, groups, onChange }: Props) {
  const counts = useMemo(() => countGroups(groups), [groups]);
  const known = useMemo(() => tagsOf(groups.flatMap(({ variants }) => variants)), [groups]);
  const active = countFilters(filter);
  // One of the address, which nothing has any more, is still a choice.
  const tags = filter.tag === null || known.includes(filter.tag) ? known : [filter.tag, ...known];
  return (
    <FilterPopover active={active}>
      <NativeSelect
        label="Status"
        value={filter.status ?? ""}
        onChange={(event) => onChange({ status: event.currentTarget.value })}
        data={[
          { value: "", label: "Any status" },
          ...STATUS_GROUPS.map((group) => ({
            value: group,
            label: `${STATUS_GROUP_LABEL[group]} (${counts[group]})`,
          })),
        ]}
      />
      <NativeSelect
        label="Precision"
        value={filter.quantization ?? ""}
        onChange={(event) => onChange({ quantization: event.currentTarget.value })}
        data={[
          { value: "", label: "Any precision" },
          ...(["none", "8bit", "4bit"] as const).map((value) => ({ value, label: QUANTIZATION_LABEL[value] })),
        ]}
      />
      <NativeSelect
        label="Tag"
        value={filter.tag ?? ""}
        onChange={(event) => onChange({ tag: event.currentTarget.value })}
        data={[{ value: "", label: "Any tag" }, ...tags]}
      />
      <Checkbox
        label="Favourites only"
        checked={filter.favourite}
        onChange={(event) => onChange({ favourite: event.currentTarget.checked ? "true" : null })}
      />
      <NativeSelect
        label="Order"
        value={filter.sort}
        onChange={(event) =>
          onChange({
            sort: event.currentTarget.value === "newest" ? null : event.currentTarget.value,
            reversed: null,
          })
        }
        data={SORTS.map((value) => ({ value, label: SORT_LABEL[value] }))}
      />
      {active > 0 && (
        <Button size="compact-sm" variant="default" onClick={() => onChange(NO_FILTER)}>
          Clear the filters
        </Button>
      )}
    </FilterPopover>
  );
}
