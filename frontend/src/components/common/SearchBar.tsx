import classes from "./SearchBar.module.css";
import { SearchField } from "./SearchField";

interface Props extends Pick<
  React.ComponentProps<typeof SearchField>,
  "ref" | "label" | "placeholder" | "value" | "onChange"
> {
  /** Filters and buttons, beside the field where there is room. */
  children: React.ReactNode;
}

/** The search field of a view, which the key "/" leads to, with the filters that belong to it. */
export function SearchBar({ label, children, ...field }: Props) {
  return (
    <div className={classes.bar} role="search" aria-label={label}>
      <SearchField label={label} hotkey="/" className={classes.query} {...field} />
      {children}
    </div>
  );
}
