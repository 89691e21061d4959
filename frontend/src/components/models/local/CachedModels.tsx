import { Button, Group, Text } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { dropLeftovers, listCache } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import { toastDone, toastProblem } from "../../../lib/toast";
import { useModelsStore } from "../../../stores/modelsStore";
import type { CacheListing } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./CachedModels.module.css";

/** What other tools put into the shared cache, to be taken over without a download, and what downloads left there. */
export function CachedModels({ explain = false }: { explain?: boolean }) {
  const cache = useResource("cache", listCache);
  if (cache.loading) return <Placeholder h={40} label="Reading the Hugging Face cache" />;
  if (cache.problem !== null)
    return (
      <ProblemAlert title="The cache could not be read" problem={cache.problem}>
        <TryAgain onClick={cache.reload} />
      </ProblemAlert>
    );
  if (cache.data === null) return null;
  const { items, leftovers } = cache.data;
  if (items.length === 0 && leftovers.length === 0)
    return explain ? (
      <Text size="sm" c="dimmed">
        All models in the cache are listed already. Models that other tools download appear here.
      </Text>
    ) : null;
  return (
    <div className={classes.cache}>
      {items.length > 0 && (
        <>
          <Text size="sm">Downloaded by other tools. Adding one verifies its files and downloads nothing.</Text>
          <ul className={classes.list}>
            {items.map((item) => (
              <CachedRow key={`${item.model_id}@${item.commit}`} item={item} onAdded={cache.reload} />
            ))}
          </ul>
        </>
      )}
      <Leftovers leftovers={leftovers} onDropped={cache.reload} />
    </div>
  );
}

function CachedRow({ item, onAdded }: { item: CacheListing["items"][number]; onAdded: () => void }) {
  const adopt = useModelsStore((state) => state.adoptModel);
  const [busy, setBusy] = useState(false);

  async function add() {
    setBusy(true);
    try {
      const model = await adopt(item.model_id);
      toastDone(`Adding ${model.name}`, "Its files are verified first.");
      onAdded();
    } catch (error) {
      toastProblem(`${item.model_id} was not added`, error);
      setBusy(false);
    }
  }

  return (
    <li className={classes.row}>
      <span className={classes.what}>
        <span className="mono truncate">{item.model_id}</span>
        <span className={`${classes.facts} num`}>
          {[formatBytes(item.size_bytes), ...item.revisions, item.problem].filter((part) => part !== null).join(" · ")}
        </span>
      </span>
      {item.importable ? (
        <Button
          size="compact-sm"
          variant="default"
          loading={busy}
          onClick={() => void add()}
          aria-label={`Add ${item.model_id}`}
        >
          Add
        </Button>
      ) : (
        <Button
          size="compact-sm"
          variant="default"
          component={Link}
          to={`/models?download=${encodeURIComponent(item.model_id)}`}
          aria-label={`Complete ${item.model_id}`}
        >
          Complete
        </Button>
      )}
    </li>
  );
}

function Leftovers({ leftovers, onDropped }: { leftovers: CacheListing["leftovers"]; onDropped: () => void }) {
  const [busy, setBusy] = useState(false);
  if (leftovers.length === 0) return null;
  const bytes = leftovers.reduce((sum, file) => sum + file.size_bytes, 0);

  async function drop() {
    setBusy(true);
    try {
      const { freed_bytes } = await dropLeftovers();
      toastDone("Unfinished files removed", `${formatBytes(freed_bytes)} freed.`);
      onDropped();
    } catch (error) {
      toastProblem("The unfinished files were not removed", error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Group justify="space-between" gap="xs">
      <Text size="sm" className="num">
        {leftovers.length === 1 ? "1 unfinished file" : `${leftovers.length} unfinished files`} that no download uses,{" "}
        {formatBytes(bytes)}
      </Text>
      <Button size="compact-sm" variant="default" loading={busy} onClick={() => void drop()}>
        Remove
      </Button>
    </Group>
  );
}
