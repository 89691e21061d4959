import { memo } from "react";
import { useLive, useModel, usePending } from "../../../hooks/useModels";
import { useMemoryPlace } from "../../../hooks/useMemoryPlace";
import { fetchedBytes } from "../../../lib/cancel";
import type { Place } from "../../../lib/yard";
import { type Ghost, useGhostStore } from "../../../stores/ghostStore";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import type { Device, Model } from "../../../types/model";
import type { CardAction } from "../card/actions";
import { ModelCard } from "../ModelCard";
import { ModelGrid } from "./ModelGrid";

interface CardsProps {
  ids: string[];
  search: string;
  /** The chosen ones, or null while none are being chosen. */
  selected: ReadonlySet<string> | null;
  onSelect: (model: Model, selected: boolean) => void;
  onAction: (model: Model, action: CardAction) => void;
}

export function Cards({ ids, search, selected, onSelect, onAction }: CardsProps) {
  const system = useSystemStore((state) => state.system);
  const scale = useMemoryPlace();
  return (
    <ModelGrid
      ids={ids}
      renderCard={(id) => (
        <StoredCard
          id={id}
          scale={scale}
          devices={system?.devices}
          search={search}
          selected={selected?.has(id)}
          onSelect={onSelect}
          onAction={onAction}
        />
      )}
    />
  );
}

interface StoredCardProps extends Omit<CardsProps, "ids" | "selected"> {
  id: string;
  scale: Place | undefined;
  devices: Device[] | undefined;
  selected: boolean | undefined;
}

/** Remembered, because the grid draws itself again with each row that scrolls into view. */
const StoredCard = memo(function StoredCard({ id, search, ...props }: StoredCardProps) {
  const model = useModel(id);
  const live = useLive(id);
  const pending = usePending(id);
  if (model === undefined) return null;
  return (
    <ModelCard model={model} live={live} pending={pending} href={`/models/${id}${search}`} onPoint={point} {...props} />
  );
});

function point(model: Model | null): void {
  useGhostStore.getState().show(model === null ? null : ghostOf(model));
}

/** What this model would add: nothing in memory when it is loaded, on disk only what is still to come. */
function ghostOf(model: Model): Ghost {
  const here = fetchedBytes(model, useModelsStore.getState().live[model.id]);
  return {
    label: model.name,
    quantization: model.quantization,
    loaded: model.loaded,
    wanted: {
      memory: model.loaded ? 0 : (model.memory_measured_bytes ?? model.memory_estimated_bytes),
      cache: model.status === "ready" || model.size_bytes === null ? 0 : Math.max(0, model.size_bytes - here),
      artifact: 0,
    },
  };
}
