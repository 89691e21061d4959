import { Button } from "@mantine/core";

/** The step out of most problems, in a ProblemAlert. */
export function TryAgain({ onClick }: { onClick: () => void }) {
  return (
    <Button size="compact-sm" variant="default" onClick={onClick}>
      Try again
    </Button>
  );
}
