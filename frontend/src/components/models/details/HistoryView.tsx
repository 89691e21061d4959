import { Button, Group, Stack, Text } from "@mantine/core";
import { CircleAlert, CircleCheck, CircleDot, type LucideIcon, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { listHistory } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { formatWhen, formatWhenExactly } from "../../../lib/dates";
import { type EventTone, eventFigures, eventTone, eventLabel } from "../../../lib/history";
import { fromRow } from "../../../lib/problems";
import type { HistoryEvent, Model } from "../../../types/model";
import { EmptyState } from "../../common/EmptyState";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./HistoryView.module.css";

const PAGE = 50;

const ICON: Record<EventTone, LucideIcon> = {
  good: CircleCheck,
  bad: CircleAlert,
  warn: TriangleAlert,
  quiet: CircleDot,
};

/** What was done to a model and when, the newest first. */
export function HistoryView({ model }: { model: Model }) {
  const [pages, setPages] = useState(1);
  const history = useResource(
    `${model.id}@${model.updated_at}@${pages}`,
    async (signal) => {
      const parts = await Promise.all(
        Array.from({ length: pages }, (_, index) => listHistory(model.id, PAGE, index * PAGE, signal)),
      );
      return { items: parts.flatMap((part) => part.items), total: parts[0]?.total ?? 0 };
    },
    model.id,
  );
  if (history.problem !== null)
    return (
      <ProblemAlert title="Could not load the history" problem={history.problem}>
        <TryAgain onClick={history.reload} />
      </ProblemAlert>
    );
  if (history.data === null) return <Placeholder h={200} label="Loading the history" />;
  const { items, total } = history.data;
  if (items.length === 0)
    return <EmptyState title="No history yet">Downloads, checks, loads and errors are listed here.</EmptyState>;
  return (
    <Stack gap="sm">
      <ol className={classes.events} aria-label="History, the newest first">
        {items.map((event, index) => (
          <Event key={`${event.at} ${event.kind} ${event.event} ${total - index}`} event={event} />
        ))}
      </ol>
      {items.length < total && (
        <Group justify="space-between">
          <Text size="sm" c="dimmed" className="num">
            {items.length} of {total}
          </Text>
          <Button size="compact-sm" variant="default" loading={history.loading} onClick={() => setPages(pages + 1)}>
            Show older
          </Button>
        </Group>
      )}
    </Stack>
  );
}

function Event({ event }: { event: HistoryEvent }) {
  const tone = eventTone(event);
  const Icon = ICON[tone];
  const figures = eventFigures(event);
  const problem = event.error === null ? null : fromRow(event.error);
  return (
    <li className={classes.event} data-tone={tone}>
      <Icon size={14} aria-hidden className={classes.icon} />
      <div className={classes.what}>
        <span className={classes.words}>{eventLabel(event)}</span>
        {figures !== "" && <span className={`${classes.figures} num`}>{figures}</span>}
        {problem !== null && (
          <span className={classes.problem}>
            {problem.message} {problem.hint}
          </span>
        )}
      </div>
      <time className={`${classes.at} num`} dateTime={event.at} title={formatWhenExactly(event.at)}>
        {formatWhen(event.at)}
      </time>
    </li>
  );
}
