import { Autocomplete, Loader, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { searchHub } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { hitFacts, isGated } from "../../../lib/hub";
import { parseModelReference } from "../../../lib/modelId";
import { useSystemStore } from "../../../stores/systemStore";
import type { SearchItem } from "../../../types/model";
import { FitHint } from "../memory/FitHint";
import { HubUnreachable } from "../hub/HubUnreachable";
import classes from "../ModelDownloadForm.module.css";

const SEARCH_DELAY_MS = 250;

const HOW_TO_WRITE = "Enter owner/name or a name such as gpt2, or paste the URL of a model page.";

interface HubSearchProps {
  text: string;
  invalid: boolean;
  /** The model shown below already; it needs no search. */
  current: string | null;
  onText: (text: string) => void;
  onPick: (modelId: string) => void;
}

export function HubSearch({ text, invalid, current, onText, onPick }: HubSearchProps) {
  const [query] = useDebouncedValue(text.trim(), SEARCH_DELAY_MS);
  const settled = query === current || /^https?:/i.test(query);
  const search = useResource(
    settled ? null : `search:${query}`,
    async (signal) => (await searchHub({ q: query, limit: 10 }, signal)).items,
    // What was found stays until more is known: an option that somebody has moved to is not lost.
    "search",
  );
  const hub = useSystemStore((state) => state.system?.hub);
  const items = new Map((search.data ?? []).map((item) => [item.model_id, item]));
  const unreachable = search.problem?.code === "hub_unreachable";
  return (
    <div className={classes.search}>
      <Autocomplete
        label="Model"
        description={
          hub === undefined
            ? " "
            : hub.endpoint_source === "builtin"
              ? "Searches the built-in sample Hub"
              : `Searches ${hub.endpoint}`
        }
        inputWrapperOrder={["label", "input", "error", "description"]}
        placeholder="owner/name, gpt2, or the URL of a model page"
        value={text}
        onChange={onText}
        onOptionSubmit={onPick}
        onPaste={(event) => {
          const pasted = event.clipboardData.getData("text");
          if (parseModelReference(pasted) !== null && /^https?:/i.test(pasted.trim())) {
            event.preventDefault();
            onText(pasted.trim());
            onPick(pasted);
          }
        }}
        data={[...items.keys()]}
        filter={({ options }) => options}
        openOnFocus={false}
        renderOption={({ option }) => <SearchOption id={option.value} item={items.get(option.value)} />}
        rightSection={search.loading ? <Loader size={14} aria-label="Searching" /> : null}
        error={invalid ? HOW_TO_WRITE : null}
        aria-autocomplete="list"
        comboboxProps={{ shadow: "none", transitionProps: { duration: 80 } }}
        spellCheck={false}
        autoCapitalize="none"
        data-autofocus
      />
      {search.problem !== null &&
        (unreachable ? (
          <HubUnreachable problem={search.problem} onRetry={search.reload} />
        ) : (
          <Text size="xs" c="dimmed">
            Search is not available: {search.problem.message} “Look up” works with a full name.
          </Text>
        ))}
      {search.data?.length === 0 && !search.loading && query !== "" && !invalid && (
        <Text size="xs" c="dimmed">
          No results for “{query}”.{" "}
          {parseModelReference(query) === null ? HOW_TO_WRITE : "“Look up” tries exactly this name."}
        </Text>
      )}
    </div>
  );
}

function SearchOption({ id, item }: { id: string; item: SearchItem | undefined }) {
  const facts =
    item === undefined ? [] : [...hitFacts(item), isGated(item) ? "gated" : null, item.installed ? "installed" : null];
  return (
    <span className={classes.found}>
      <span className="truncate">{id}</span>
      <span className={`${classes.foundFacts} num`}>
        {item !== undefined && <FitHint bytes={item.weights_bytes} />}
        <span>{facts.filter((fact) => fact !== null).join(" · ")}</span>
      </span>
    </span>
  );
}
