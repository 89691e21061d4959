import { Skeleton } from "@mantine/core";
import classes from "./Placeholder.module.css";

/** In the place of what is still to come; what takes more than a moment says in words what it is. */
export function Placeholder({ h, label }: { h: number; label: string }) {
  return (
    <div className={classes.placeholder} role="status" aria-label={label} style={{ height: h }}>
      <Skeleton h="100%" />
      <span className={classes.words}>{label}…</span>
    </div>
  );
}
