import classes from "./TrainingPage.module.css";

/** The frame of a page about training. */
export function TrainingPage({ children }: { children: React.ReactNode }) {
  return <div className={classes.page}>{children}</div>;
}
