import { Button, Skeleton } from "@mantine/core";
import { useSystemStore } from "../../stores/systemStore";
import { ProblemAlert } from "./ProblemAlert";

/** In the place of what the server tells about its machine, until it has told it. */
export function SystemPending({ height, label }: { height: number; label: string }) {
  const error = useSystemStore((state) => state.error);
  const { refresh } = useSystemStore.getState();
  if (error === null) return <Skeleton h={height} role="status" aria-label={label} />;
  return (
    <ProblemAlert title="The server did not describe its machine" problem={error}>
      <Button size="compact-sm" variant="default" onClick={() => void refresh()}>
        Try again
      </Button>
    </ProblemAlert>
  );
}
