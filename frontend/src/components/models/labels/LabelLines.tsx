import { Link, useLocation } from "react-router";
import { listPath } from "../../../lib/modelPath";
import type { Model } from "../../../types/model";
import classes from "./labels.module.css";

interface Props {
  model: Model;
  /** All of the note, where there is room for it. */
  whole?: boolean;
}

/** The tags of a model's repository and its note, of which a list has one line. */
export function LabelLines({ model, whole = false }: Props) {
  const { note } = model;
  return (
    <>
      <TagLinks model={model} />
      {note !== "" && (
        <p className={classes.note} data-whole={whole || undefined} title={whole ? undefined : note}>
          {note}
        </p>
      )}
    </>
  );
}

/** Each a link to all models that have it. */
export function TagLinks({ model: { name, tags } }: { model: Model }) {
  const { search } = useLocation();
  if (tags.length === 0) return null;
  return (
    <ul className={classes.tags} aria-label={`Tags of ${name}`}>
      {tags.map((tag) => (
        <li key={tag}>
          <Link className={classes.tag} to={listPath(withTag(search, tag))}>
            {tag}
          </Link>
        </li>
      ))}
    </ul>
  );
}

function withTag(search: string, tag: string): URLSearchParams {
  const parameters = new URLSearchParams(search);
  parameters.set("tag", tag);
  return parameters;
}
