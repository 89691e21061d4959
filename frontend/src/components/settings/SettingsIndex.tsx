import { Link } from "react-router";
import classes from "./SettingsIndex.module.css";
import { useSectionInView } from "./useSectionInView";

interface Props {
  sections: { id: string; label: string }[];
}

/** Leads to each section, and says which one is being read. */
export function SettingsIndex({ sections }: Props) {
  const current = useSectionInView(sections.map(({ id }) => id));
  return (
    <nav className={classes.index} aria-label="Sections">
      {sections.map(({ id, label }) => (
        <Link
          key={id}
          to={{ hash: `#${id}` }}
          className={classes.link}
          aria-current={id === current ? "true" : undefined}
        >
          {label}
        </Link>
      ))}
    </nav>
  );
}
