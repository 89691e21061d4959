import { ActionIcon } from "@mantine/core";
import { Star } from "lucide-react";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { toastProblem } from "../../../lib/toast";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model } from "../../../types/model";
import classes from "./labels.module.css";

/** Marks the repository of a model as a favourite, or not any more. */
export function FavouriteButton({ model }: { model: Model }) {
  const changeLabels = useModelsStore((state) => state.changeLabels);
  const away = useOfflineReason();
  const { favourite } = model;

  async function toggle() {
    try {
      await changeLabels(model.id, { favourite: !favourite });
    } catch (error) {
      toastProblem(`Could not change the favourite ${model.name}`, error);
    }
  }

  return (
    <ActionIcon
      size={28}
      className={classes.star}
      aria-label={`Favourite: ${model.name}`}
      aria-pressed={favourite}
      disabled={away !== undefined}
      title={away ?? (favourite ? "Remove from favourites" : "Add to favourites")}
      onClick={() => void toggle()}
    >
      <Star size={16} aria-hidden />
    </ActionIcon>
  );
}
