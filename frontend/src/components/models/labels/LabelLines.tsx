import { Link, useLocation } from "react-router";
import type { Model } from "../../../types/model";
import classes from "./labels.module.css";

/** The tags of a model's repository, each a link to all that have it, and the first line of its note. */
export function LabelLines({ model }: { model: Model }) {
  const { search } = useLocation();
  const { name, tags, note } = model;
  return (
    <>
      {tags.length > 0 && (
        <ul className={classes.tags} aria-label={`Tags of ${name}`}>
          {tags.map((tag) => (
            <li key={tag}>
              <Link className={classes.tag} to={`/models?${withTag(search, tag)}`}>
                {tag}
              </Link>
            </li>
          ))}
        </ul>
      )}
      {note !== "" && (
        <p className={classes.note} title={note}>
          {note}
        </p>
      )}
    </>
  );
}

function withTag(search: string, tag: string): string {
  const parameters = new URLSearchParams(search);
  parameters.set("tag", tag);
  return parameters.toString();
}
