import { type ReactNode, useCallback, useState } from "react";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { useModelGroups } from "../../hooks/useModels";
import { losesWork } from "../../lib/cancel";
import { isDeletable } from "../../lib/labels";
import { toastProblem } from "../../lib/toast";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model } from "../../types/model";
import { ConfirmCancel } from "../common/ConfirmCancel";
import { ConfirmDelete } from "../common/ConfirmDelete";
import { LazyDialog } from "../common/LazyDialog";
import type { CardAction, OnAction } from "./card/actions";
import { DeleteModels } from "./list/DeleteModels";
import type { VersionWish } from "./versions/VersionDialog";
import { QuantizeDialog, type QuantizeWish } from "./details/QuantizeDialog";

const ExportDialog = lazyWithRetry(() => import("./bundles/ExportDialog"));
const VersionDialog = lazyWithRetry(() => import("./versions/VersionDialog"));
const LabelsDialog = lazyWithRetry(() => import("./labels/LabelsDialog"));

interface ModelActions {
  /** Does it, or asks first where something may be lost. */
  onAction: OnAction;
  /** The questions that are asked; belongs somewhere on the page. */
  questions: ReactNode;
}

/** What can be done with a model, wherever it is shown. */
export function useModelActions(): ModelActions {
  const act = useModelsStore((state) => state.act);
  const mergeAdapter = useModelsStore((state) => state.mergeAdapter);
  const [deleting, setDeleting] = useState<Model | null>(null);
  const [deletingAll, setDeletingAll] = useState<Model | null>(null);
  const [originalOnly, setOriginalOnly] = useState(false);
  const [quantizing, setQuantizing] = useState<QuantizeWish | null>(null);
  const [cancelling, setCancelling] = useState<string | null>(null);
  const [exporting, setExporting] = useState<Model | null>(null);
  const [labelling, setLabelling] = useState<string | null>(null);
  const [versionWish, setVersionWish] = useState<VersionWish | null>(null);
  const keep = useCallback(() => setCancelling(null), []);

  const onAction: OnAction = useCallback(
    (model, action) => {
      if (action === "delete" || action === "drop-original") {
        setDeleting(model);
        setOriginalOnly(action === "drop-original");
      } else if (action === "delete-all") setDeletingAll(model);
      else if (action === "quantize-4bit") setQuantizing({ model, quantization: "4bit" });
      else if (action === "quantize-8bit") setQuantizing({ model, quantization: "8bit" });
      else if (action === "export") setExporting(model);
      else if (action === "labels") setLabelling(model.id);
      else if (isVersionAction(action)) setVersionWish(wishOf(model, action));
      else if (action === "pin" || action === "unpin") void pin(model, action === "pin");
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
        <DeleteVariants model={deletingAll} onClose={() => setDeletingAll(null)} />
        <QuantizeDialog wish={quantizing} onClose={() => setQuantizing(null)} />
        <LazyDialog wanted={exporting !== null} title="Export" onClose={() => setExporting(null)}>
          {(opened) => <ExportDialog opened={opened} model={exporting} onClose={() => setExporting(null)} />}
        </LazyDialog>
        <LazyDialog wanted={labelling !== null} title="Tags and note" onClose={() => setLabelling(null)}>
          {(opened) => <LabelsDialog opened={opened} id={labelling} onClose={() => setLabelling(null)} />}
        </LazyDialog>
        <LazyDialog wanted={versionWish !== null} title="Version" onClose={() => setVersionWish(null)}>
          {(opened) => <VersionDialog opened={opened} wish={versionWish} onClose={() => setVersionWish(null)} />}
        </LazyDialog>
        <ConfirmCancel id={cancelling} onClose={keep} />
      </>
    ),
  };
}

type VersionAction = "update" | "rollback" | "use-version";

function isVersionAction(action: CardAction): action is VersionAction {
  return action === "update" || action === "rollback" || action === "use-version";
}

/** To use a version that was replaced is to roll back to it what is in use. */
function wishOf(model: Model, action: VersionAction): VersionWish {
  if (action === "update") return { model, change: { to: "newest" } };
  const current = useModelsStore.getState().byId[model.replaced_by ?? ""] ?? model;
  return {
    model: current,
    change: { to: "earlier", commit: action === "use-version" ? model.commit : model.previous_commit },
  };
}

async function pin(model: Model, pinned: boolean): Promise<void> {
  try {
    await useModelsStore.getState().changeLabels(model.id, { pinned_commit: pinned ? model.commit : null });
  } catch (error) {
    toastProblem(`Could not ${pinned ? "pin" : "unpin"} ${model.name}`, error);
  }
}

/** Which variants of a repository are to go. */
function DeleteVariants({ model, onClose }: { model: Model | null; onClose: () => void }) {
  const groups = useModelGroups();
  const group = model === null ? undefined : groups.find(({ variants }) => variants.some(({ id }) => id === model.id));
  return (
    <DeleteModels
      title={`Delete ${model?.name ?? ""}`}
      models={group?.variants.filter(isDeletable) ?? null}
      choosable
      onClose={onClose}
    />
  );
}
