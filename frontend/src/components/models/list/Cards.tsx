import { fetchedBytes } from "../../../lib/cancel";
import type { ModelGroup } from "../../../lib/groups";
import { type Ghost, useGhostStore } from "../../../stores/ghostStore";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import type { Model } from "../../../types/model";
import type { OnAction } from "../card/actions";
import { ModelCard } from "../ModelCard";
import { ModelGrid } from "./ModelGrid";

interface Props {
  groups: ModelGroup[];
  search: string;
  /** The keys of the chosen ones, or null while none are being chosen. */
  selected: ReadonlySet<string> | null;
  onSelect: (group: ModelGroup, selected: boolean) => void;
  onAction: OnAction;
}

export function Cards({ groups, search, selected, onSelect, onAction }: Props) {
  const devices = useSystemStore((state) => state.system?.devices);
  return (
    <ModelGrid
      groups={groups}
      renderCard={(group) => (
        <ModelCard
          group={group}
          devices={devices}
          search={search}
          selected={selected?.has(group.key)}
          onSelect={onSelect}
          onAction={onAction}
          onPoint={point}
        />
      )}
    />
  );
}

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
