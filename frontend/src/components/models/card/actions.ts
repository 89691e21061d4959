import type { ModelAction } from "../../../api/models";
import type { Model } from "../../../types/model";

export type CardAction =
  | ModelAction
  | "export"
  | "quantize-4bit"
  | "quantize-8bit"
  | "merge"
  | "labels"
  | "update"
  | "rollback"
  | "use-version"
  | "pin"
  | "unpin"
  | "delete"
  | "delete-all"
  | "drop-original";

export type OnAction = (model: Model, action: CardAction) => void;

export interface ActionProps {
  model: Model;
  busy: boolean;
  onAction: OnAction;
}
