import { useLive, useModel, usePending } from "../../../hooks/useModels";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import type { Model } from "../../../types/model";
import type { CardAction } from "../card/actions";
import { LazyDialog } from "../../common/LazyDialog";

export const drawerPart = () => import("./ModelDrawer");

const ModelDrawer = lazyWithRetry(drawerPart);

interface OpenDrawerProps {
  id: string | undefined;
  loading: boolean;
  /** Whether a question lies over it, whose Esc is not the drawer's. */
  covered: boolean;
  onClose: () => void;
  onAction: (model: Model, action: CardAction) => void;
}

export function OpenDrawer({ id, loading, covered, onClose, onAction }: OpenDrawerProps) {
  const model = useModel(id ?? "");
  const live = useLive(id ?? "");
  const pending = usePending(id ?? "");
  return (
    <LazyDialog wanted={id !== undefined} title={model?.name ?? "Model"} onClose={onClose}>
      {(opened) => (
        <ModelDrawer
          opened={opened}
          model={model}
          loading={loading}
          closeOnEscape={!covered}
          live={live}
          pending={pending}
          onClose={onClose}
          onAction={onAction}
        />
      )}
    </LazyDialog>
  );
}
