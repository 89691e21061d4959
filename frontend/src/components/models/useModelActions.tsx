import { type ReactNode, useCallback, useState } from "react";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { losesWork } from "../../lib/cancel";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { ConfirmCancel } from "../common/ConfirmCancel";
import { ConfirmDelete } from "../common/ConfirmDelete";
import { LazyDialog } from "../common/LazyDialog";
import type { CardAction } from "./card/actions";
import { QuantizeDialog, type QuantizeWish } from "./details/QuantizeDialog";

const LabelsDialog = lazyWithRetry(() => import("./labels/LabelsDialog"));

interface ModelActions {
  /** Does it, or asks first where something may be lost. */
  onAction: (model: Model, action: CardAction) => void;
  /** The questions that are asked; belongs somewhere on the page. */
  questions: ReactNode;
}

/** What can be done with a model, wherever it is shown. */
export function useModelActions(): ModelActions {
  const act = useModelsStore((state) => state.act);
  const mergeAdapter = useModelsStore((state) => state.mergeAdapter);
  const [deleting, setDeleting] = useState<Model | null>(null);
  const [originalOnly, setOriginalOnly] = useState(false);
  const [quantizing, setQuantizing] = useState<QuantizeWish | null>(null);
  const [cancelling, setCancelling] = useState<string | null>(null);
  const [labelling, setLabelling] = useState<string | null>(null);
  const keep = useCallback(() => setCancelling(null), []);

  const onAction = useCallback(
    (model: Model, action: CardAction) => {
      if (action === "delete" || action === "drop-original") {
        setDeleting(model);
        setOriginalOnly(action === "drop-original");
      } else if (action === "quantize-4bit") setQuantizing({ model, quantization: "4bit" });
      else if (action === "quantize-8bit") setQuantizing({ model, quantization: "8bit" });
      else if (action === "labels") setLabelling(model.id);
      else if (action === "merge") void mergeAdapter(model.id);
      else if (action === "cancel" && losesWork(model, useModelsStore.getState().live[model.id]))
        setCancelling(model.id);
      else void act(model.id, action);
    },
    [act, mergeAdapter],
  );

  return {
    onAction,
    questions: (
      <>
        <ConfirmDelete model={deleting} originalOnly={originalOnly} onClose={() => setDeleting(null)} />
        <QuantizeDialog wish={quantizing} onClose={() => setQuantizing(null)} />
        <LazyDialog wanted={labelling !== null} title="Tags and note" onClose={() => setLabelling(null)}>
          {(opened) => <LabelsDialog opened={opened} id={labelling} onClose={() => setLabelling(null)} />}
        </LazyDialog>
        <ConfirmCancel id={cancelling} onClose={keep} />
      </>
    ),
  };
}
