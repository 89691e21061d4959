import { Stack, Text } from "@mantine/core";
import { useEffect, useRef } from "react";
import { getLog } from "../../api/trainings";
import { useFollowed } from "../../hooks/useFollowed";
import { formatBytes } from "../../lib/bytes";
import { isRunning } from "../../lib/training";
import type { Training, TrainingLog } from "../../types/training";
import { CodeBlock } from "../common/CodeBlock";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import classes from "./RunLog.module.css";

const EVERY_MS = 2000;
/** Older lines go; the file on the server keeps them. */
const MOST_CHARACTERS = 100_000;
/** Whoever has scrolled up further than this is reading, and is left there. */
const AT_THE_END_PX = 24;

/** What the process of a run writes, the newest lines in view. */
export function RunLog({ training }: { training: Training }) {
  const { id, status } = training;
  const {
    value: log,
    problem,
    retry,
  } = useFollowed<TrainingLog>(`${id} ${status}`, isRunning(status), EVERY_MS, async (known, signal) => {
    const part = await getLog(id, known?.position ?? 0, signal);
    const text = (known?.text ?? "") + part.text;
    const kept =
      text.length <= MOST_CHARACTERS ? text : text.slice(text.indexOf("\n", text.length - MOST_CHARACTERS) + 1);
    const skipped = (known?.skipped_bytes ?? 0) + part.skipped_bytes + (text.length - kept.length);
    return { text: kept, position: part.position, skipped_bytes: skipped };
  });
  const box = useRef<HTMLPreElement>(null);
  const reading = useRef(false);
  useEffect(() => {
    if (box.current !== null && !reading.current) box.current.scrollTop = box.current.scrollHeight;
  }, [log?.text]);

  function noteWhere({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: React.UIEvent<HTMLPreElement>) {
    reading.current = scrollHeight - scrollTop - clientHeight > AT_THE_END_PX;
  }

  return (
    <Section label="Log">
      <Stack gap="xs">
        {problem !== null && (
          <ProblemAlert title="The log is not available" problem={problem} tone="warn">
            <TryAgain onClick={retry} />
          </ProblemAlert>
        )}
        {log === null && problem === null && <Placeholder h={120} label="Loading the log" />}
        {log !== null && (
          <Text size="sm" c="dimmed" className="num">
            {log.text === "" ? whyEmpty(training) : `Times are in UTC. ${formatSkipped(log.skipped_bytes)}`}
          </Text>
        )}
        {log !== null && log.text !== "" && (
          <CodeBlock ref={box} label="Lines of the log" className={classes.log} onScroll={noteWhere}>
            {log.text}
          </CodeBlock>
        )}
      </Stack>
    </Section>
  );
}

function whyEmpty({ id, started_at, status }: Training): string {
  if (started_at === null) return "The log begins when a worker takes the run.";
  const file = `trainings/${id}/log.txt`;
  // The process of a run takes seconds before it writes.
  return isRunning(status)
    ? `Nothing is written yet. If a worker on another machine trains, its log is there, in ${file}.`
    : `The log is not on the server's machine. Look on the worker's machine, in ${file}.`;
}

function formatSkipped(bytes: number): string {
  return bytes === 0 ? "" : `${formatBytes(bytes)} of older lines are left out.`;
}
