import { useSystemStore } from "../../stores/systemStore";
import { Placeholder } from "./Placeholder";
import { ProblemAlert } from "./ProblemAlert";
import { TryAgain } from "./TryAgain";

/** In the place of what the server tells about its machine, until it has told it. */
export function SystemPending({ height, label }: { height: number; label: string }) {
  const error = useSystemStore((state) => state.error);
  const { refresh } = useSystemStore.getState();
  if (error === null) return <Placeholder h={height} label={label} />;
  return (
    <ProblemAlert title="System information is not available" problem={error}>
      <TryAgain onClick={() => void refresh()} />
    </ProblemAlert>
  );
}
