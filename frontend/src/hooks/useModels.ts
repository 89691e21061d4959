import { useMemo } from "react";
import { useModelsStore } from "../stores/modelsStore";
import type { Model } from "../types/model";
import { type ModelFilter, filterModels } from "../lib/filter";
import { isActive } from "../lib/words";

export const useModel = (id: string) => useModelsStore((state) => state.byId[id]);
export const useLive = (id: string) => useModelsStore((state) => state.live[id]);
export const usePending = (id: string) => useModelsStore((state) => state.pending[id]);
export const useConn = () => useModelsStore((state) => state.conn);

/** All rows; a new array only when a row's status or facts changed. */
export function useModelList(): Model[] {
  const byId = useModelsStore((state) => state.byId);
  const ids = useModelsStore((state) => state.ids);
  return useMemo(() => ids.flatMap((id) => byId[id] ?? []), [byId, ids]);
}

export function useFilteredIds(filter: ModelFilter): string[] {
  const models = useModelList();
  const { q, status, quantization, sort } = filter;
  return useMemo(
    () => filterModels(models, { q, status, quantization, sort }).map((model) => model.id),
    [models, q, status, quantization, sort],
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
