import { Alert, Group, Stack, Text } from "@mantine/core";
import { CircleAlert } from "lucide-react";
import type { ProblemView } from "../../lib/problems";

/** What happened, what to do, and the buttons that do it. */
export function ProblemAlert({ title, problem, children }: { title: string; problem: ProblemView; children?: React.ReactNode }) {
  return (
    <Alert color="red" variant="light" icon={<CircleAlert size={18} aria-hidden />} title={title}>
      <Stack gap="xs">
        <Text size="sm" style={{ overflowWrap: "anywhere" }}>
          {problem.message} {problem.hint}
        </Text>
        {children !== undefined && <Group gap="xs">{children}</Group>}
      </Stack>
    </Alert>
  );
}
