import { getHubCard } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import type { ModelInfo } from "../../../types/model";
import { CardText } from "../details/CardText";
import classes from "./ModelPreview.module.css";

/** What the authors say of a model that need not be here, at the commit that would be downloaded. */
export function HubCard({ info }: { info: ModelInfo }) {
  const { model_id: id, commit, canonical_id: name } = info;
  const card = useResource(`${id}@${commit}`, (signal) => getHubCard(id, commit, signal));
  return <CardText card={card} name={name} />;
}

/** The card in a frame of its own, which takes the height that the figures beside it leave. */
export function HubCardFrame({ info }: { info: ModelInfo }) {
  return (
    <section className={classes.card} aria-label="Model card" tabIndex={0}>
      <HubCard info={info} />
    </section>
  );
}
