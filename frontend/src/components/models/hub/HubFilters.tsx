import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useId } from "react";
import {
  ARCHITECTURES,
  countHubFilters,
  FITS,
  HUB_SIZES,
  type HubQuery,
  LICENCES,
  NO_HUB_FILTER,
  SEARCH_SORT_LABEL,
  SEARCH_SORTS,
  SIZE_LABEL,
  TASKS,
} from "../../../lib/hub";
import { QUANTIZATION_LABEL } from "../../../lib/labels";
import { FilterPopover } from "../../common/FilterPopover";
import classes from "./HubView.module.css";

interface Props {
  query: HubQuery;
  /** Whether the Hub knows what to put first: nobody counts the downloads and likes of the sample Hub. */
  ordered: boolean;
  onChange: (changes: Record<string, string | null>) => void;
}

/** What narrows the search besides its words: a row, or behind a button where there is no room for one. */
export function HubFilters(props: Props) {
  const narrow = useMediaQuery("(max-width: 75em)", false, { getInitialValueInEffect: false });
  const active = countHubFilters(props.query);
  if (!narrow)
    return (
      <div className={classes.filters}>
        <Fields {...props} />
      </div>
    );
  return (
    <FilterPopover active={active}>
      <Fields {...props} />
    </FilterPopover>
  );
}

function Fields({ query, ordered, onChange }: Props) {
  const architectures = useId();
  return (
    <>
      <NativeSelect
        aria-label="Task"
        value={query.task ?? ""}
        onChange={(event) => onChange({ task: event.currentTarget.value })}
        data={[{ value: "", label: "Any task" }, ...withOwn(TASKS, query.task)]}
      />
      <NativeSelect
        aria-label="Size"
        value={query.size ?? ""}
        onChange={(event) => onChange({ size: event.currentTarget.value })}
        data={[{ value: "", label: "Any size" }, ...HUB_SIZES.map((value) => ({ value, label: SIZE_LABEL[value] }))]}
      />
      <NativeSelect
        aria-label="Licence"
        value={query.licence ?? ""}
        onChange={(event) => onChange({ licence: event.currentTarget.value })}
        data={[{ value: "", label: "Any licence" }, ...withOwn(LICENCES, query.licence)]}
      />
      <TextInput
        aria-label="Architecture"
        placeholder="Any architecture"
        list={architectures}
        value={query.architecture ?? ""}
        onChange={(event) => onChange({ architecture: event.currentTarget.value.replace(/[^A-Za-z0-9._-]/g, "") })}
        spellCheck={false}
        autoCapitalize="none"
      />
      <datalist id={architectures}>
        {ARCHITECTURES.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      {ordered && (
        <NativeSelect
          aria-label="Order"
          value={query.sort}
          onChange={(event) => onChange({ by: event.currentTarget.value })}
          data={SEARCH_SORTS.map((value) => ({ value, label: SEARCH_SORT_LABEL[value] }))}
        />
      )}
      <NativeSelect
        aria-label="Fits this machine"
        value={Object.keys(FITS).find((word) => FITS[word] === query.fitting) ?? ""}
        onChange={(event) => onChange({ fits: event.currentTarget.value })}
        data={[
          { value: "", label: "Any memory" },
          ...Object.entries(FITS).map(([value, precision]) => ({
            value,
            label: `Fits in ${QUANTIZATION_LABEL[precision].toLowerCase()}`,
          })),
        ]}
      />
      {countHubFilters(query) > 0 && (
        <Button size="compact-sm" variant="default" onClick={() => onChange(NO_HUB_FILTER)}>
          Clear the filters
        </Button>
      )}
    </>
  );
}

/** One of the address, which is none of the suggestions, is still a choice. */
function withOwn(suggestions: string[], chosen: string | null): string[] {
  return chosen === null || suggestions.includes(chosen) ? suggestions : [chosen, ...suggestions];
}
