import classes from "./Fields.module.css";

/** Form fields side by side, as many as there is room for. */
export function Fields({ children }: { children: React.ReactNode }) {
  return <div className={classes.fields}>{children}</div>;
}

/** One that takes a row of its own. */
export function WideField({ children }: { children: React.ReactNode }) {
  return <div className={classes.wide}>{children}</div>;
}
