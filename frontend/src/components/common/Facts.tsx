import classes from "./Facts.module.css";

interface FactsProps {
  /** The least width of a column in pixels; left out, there is one. */
  columns?: number;
  children: React.ReactNode;
}

/** Names and values, one pair a line; in columns where there are many and they are short. */
export function Facts({ columns, children }: FactsProps) {
  return (
    <dl
      className={`${classes.facts} num`}
      data-columns={columns !== undefined || undefined}
      style={columns === undefined ? undefined : ({ "--column": `${columns}px` } as React.CSSProperties)}
    >
      {children}
    </dl>
  );
}

interface FactProps {
  name: string;
  /** Across all columns: its value is long. */
  wide?: boolean;
  children: React.ReactNode;
}

/** A value that is null is not known, and says so. */
export function Fact({ name, wide = false, children }: FactProps) {
  return (
    <div className={classes.fact} data-wide={wide || undefined}>
      <dt>{name}</dt>
      <dd>{children ?? <span className={classes.unknown}>unknown</span>}</dd>
    </div>
  );
}
