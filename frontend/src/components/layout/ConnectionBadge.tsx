import { Tooltip } from "@mantine/core";
import { CircleDot, Unplug } from "lucide-react";
import { useConn } from "../../hooks/useModels";
import { formatTime } from "../../lib/dates";
import { useModelsStore } from "../../stores/modelsStore";
import classes from "./ConnectionBadge.module.css";

const TEXT = {
  connecting: { word: "Connecting", detail: "Connecting to the server." },
  live: { word: "Live", detail: "Changes on the server appear here at once." },
  stale: { word: "Reconnecting", detail: "What is shown may be out of date." },
} as const;

export function ConnectionBadge() {
  const conn = useConn();
  const lastAt = useModelsStore((state) => state.lastAt);
  const { word, detail } = TEXT[conn];
  const heard = conn === "stale" && lastAt > 0 ? ` The server last answered at ${formatTime(lastAt)}.` : "";
  const Icon = conn === "live" ? CircleDot : Unplug;
  return (
    <Tooltip label={detail + heard} multiline maw={280}>
      <span className={classes.badge} data-conn={conn} role="status">
        <Icon size={14} aria-hidden />
        <span className={classes.word}>{word}</span>
        {heard !== "" && <span className={classes.heard}>last answer {formatTime(lastAt)}</span>}
      </span>
    </Tooltip>
  );
}
