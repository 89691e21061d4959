import { Button, CloseButton, Modal } from "@mantine/core";
import { useEffect, useRef } from "react";
import { getHubCard } from "../../../api/models";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useResource } from "../../../hooks/useResource";
import type { Model, SearchItem } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { CardText } from "../details/CardText";
import { HitFacts, HitState, splitName } from "./HubHit";
import classes from "./HubView.module.css";

interface Props {
  modelId: string;
  /** What the search says of it; undefined where it is on none of the pages that are there. */
  item: SearchItem | undefined;
  rows: Model[];
  /** Over the whole page, where there is no room beside the list. */
  alone: boolean;
  onClose: () => void;
  onDownload: (modelId: string) => void;
}

/** One model of the Hub and its card. */
export function HubPane(props: Props) {
  const { modelId, alone, onClose } = props;
  const pane = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!alone) pane.current?.focus({ preventScroll: true });
  }, [modelId, alone]);
  if (alone)
    return (
      <Modal opened fullScreen onClose={onClose} title={splitName(modelId)[1]}>
        <Content {...props} />
      </Modal>
    );
  return (
    <aside
      ref={pane}
      className={classes.pane}
      aria-label={`${splitName(modelId)[1]} on the Hub`}
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.key === "Escape") onClose();
      }}
    >
      <div className={classes.paneHead}>
        <h2 className={classes.paneName}>{splitName(modelId)[1]}</h2>
        <CloseButton aria-label="Close" onClick={onClose} />
      </div>
      <Content {...props} />
    </aside>
  );
}

function Content({ modelId, item, rows, onDownload }: Props) {
  const away = useOfflineReason();
  const card = useResource(modelId, (signal) => getHubCard(modelId, null, signal));
  return (
    <div className={classes.content}>
      <CopyText text={modelId} label="repository id" />
      {item !== undefined && (
        <>
          <HitFacts item={item} />
          <HitState item={item} rows={rows} />
        </>
      )}
      <Button disabled={away !== undefined} title={away} onClick={() => onDownload(modelId)}>
        {rows.length === 0 ? "Download" : "Get another precision"}
      </Button>
      <CardText card={card} name={splitName(modelId)[1]} />
    </div>
  );
}
