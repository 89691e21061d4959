import { getCard } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import type { Model } from "../../../types/model";
import { CardText } from "./CardText";

/** What the authors say of a model: the README of its repository, from its files. */
export function CardView({ model }: { model: Model }) {
  // What is on the disk changes with the row.
  const card = useResource(`${model.id}@${model.updated_at}`, (signal) => getCard(model.id, signal), model.id);
  return <CardText card={card} name={model.name} />;
}
