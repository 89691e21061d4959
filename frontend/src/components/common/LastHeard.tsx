import { Clock } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { formatTime } from "../../lib/dates";
import { useModelsStore } from "../../stores/modelsStore";
import classes from "./LastHeard.module.css";

/** Beside a figure that was true when the server was last heard; nothing while it answers. */
export function LastHeard() {
  const stale = useConn() === "stale";
  const lastAt = useModelsStore((state) => state.lastAt);
  if (!stale) return null;
  const words = lastAt === 0 ? "Last known value" : `As of ${formatTime(lastAt)}, when the server last answered`;
  return (
    <span role="img" aria-label={words} title={words} className={classes.clock}>
      <Clock size={12} aria-hidden />
    </span>
  );
}
