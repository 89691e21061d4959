import type { ModelAction } from "../../../api/models";
import type { Model } from "../../../types/model";

export type CardAction =
  ModelAction | "quantize-4bit" | "quantize-8bit" | "merge" | "labels" | "delete" | "drop-original";

export interface ActionProps {
  model: Model;
  busy: boolean;
  onAction: (model: Model, action: CardAction) => void;
}
