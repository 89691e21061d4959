import classes from "./DialogButtons.module.css";

/** The answers to a question: side by side at its end, on a phone one below the other. */
export function DialogButtons({ children }: { children: React.ReactNode }) {
  return <div className={classes.buttons}>{children}</div>;
}
