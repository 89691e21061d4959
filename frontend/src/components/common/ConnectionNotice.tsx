import { Button } from "@mantine/core";
import { useConn } from "../../hooks/useModels";
import { formatTime } from "../../lib/dates";
import { useModelsStore } from "../../stores/modelsStore";
import { ProblemAlert } from "./ProblemAlert";
import classes from "./ConnectionNotice.module.css";

/** On every page while the server does not answer: since when, and that nothing need be done. */
export function ConnectionNotice() {
  const conn = useConn();
  const lastAt = useModelsStore((state) => state.lastAt);
  const { reconnect } = useModelsStore.getState();
  if (conn !== "stale") return null;
  const message =
    lastAt === 0 ? "It has not answered yet." : `Shown as of ${formatTime(lastAt)}; it may be out of date.`;
  return (
    <div className={classes.notice}>
      <ProblemAlert
        title="The server does not answer"
        problem={{ code: "server_unreachable", message, hint: "This page reconnects by itself." }}
        tone="warn"
      >
        <Button size="compact-sm" variant="default" onClick={reconnect}>
          Try now
        </Button>
      </ProblemAlert>
    </div>
  );
}
