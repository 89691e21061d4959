import { Link } from "react-router";
import { SETTINGS_SECTIONS, type SettingsSection } from "../../lib/settingsSections";
import classes from "./SettingsIndex.module.css";
import { useSectionInView } from "./useSectionInView";

interface Props {
  /** Those that are not shown. */
  absent: ReadonlySet<SettingsSection>;
}

const ALL = Object.entries(SETTINGS_SECTIONS) as [SettingsSection, string][];

/** Leads to each section, and says which one is being read. */
export function SettingsIndex({ absent }: Props) {
  const sections = ALL.filter(([id]) => !absent.has(id));
  const current = useSectionInView(sections.map(([id]) => id));
  return (
    <nav className={classes.index} aria-label="Sections">
      {sections.map(([id, label]) => (
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
