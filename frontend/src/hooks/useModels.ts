import { useMemo } from "react";
import { type ModelsState, useModelsStore } from "../stores/modelsStore";
import type { Model } from "../types/model";
import { filterGroups, type ModelFilter } from "../lib/filter";
import { groupModels, type ModelGroup } from "../lib/groups";
import { isActive } from "../lib/labels";

export const useModel = (id: string) => useModelsStore((state) => state.byId[id]);
export const useLive = (id: string) => useModelsStore((state) => state.live[id]);
export const usePending = (id: string) => useModelsStore((state) => state.pending[id]);
export const useConn = () => useModelsStore((state) => state.conn);

let listed: Pick<ModelsState, "byId" | "ids"> & { models: Model[] } = { byId: {}, ids: [], models: [] };

/** One array for whoever asks, as there may be many rows. */
function listOf({ byId, ids }: ModelsState): Model[] {
  if (listed.byId !== byId || listed.ids !== ids) {
    listed = { byId, ids, models: ids.flatMap((id) => byId[id] ?? []) };
  }
  return listed.models;
}

/** The row that is on its way to become the newer version of a model, in the same precision. */
export function useComingVersion({
  update_available,
  model_id,
  latest_commit,
  quantization,
}: Model): string | undefined {
  return useModelsStore((state) =>
    update_available !== true
      ? undefined
      : state.ids.find((id) => {
          const row = state.byId[id];
          return (
            row !== undefined &&
            row.commit === latest_commit &&
            row.model_id === model_id &&
            row.quantization === quantization &&
            isActive(row.status)
          );
        }),
  );
}

/** All rows; a new array only when a row's status or facts changed. */
export const useModelList = () => useModelsStore(listOf);

let grouped: { models: Model[]; groups: ModelGroup[] } = { models: [], groups: [] };

/** Grouped once for whoever asks. */
function groupsOf(state: ModelsState): ModelGroup[] {
  const models = listOf(state);
  if (grouped.models !== models) grouped = { models, groups: groupModels(models) };
  return grouped.groups;
}

/** All models as repositories with their variants. */
export const useModelGroups = () => useModelsStore(groupsOf);

/** How many there are; null while they are being read. */
export const useModelCount = () =>
  useModelsStore((state) => (state.load.state === "ready" ? groupsOf(state).length : null));

export function useFilteredGroups(filter: ModelFilter): ModelGroup[] {
  const groups = useModelGroups();
  const { q, status, quantization, tag, favourite, sort, reversed } = filter;
  return useMemo(
    () => filterGroups(groups, { q, status, quantization, tag, favourite, sort, reversed }),
    [groups, q, status, quantization, tag, favourite, sort, reversed],
  );
}

/** Rows with a job waiting, running or paused, oldest first so that the list does not jump. */
export function useActiveModels(): Model[] {
  const models = useModelList();
  return useMemo(
    () =>
      models
        .filter((model) => isActive(model.status))
        .sort((a, b) => a.created_at.localeCompare(b.created_at) || a.id.localeCompare(b.id)),
    [models],
  );
}
