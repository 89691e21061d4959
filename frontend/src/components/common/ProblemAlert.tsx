import { Alert, Group, Stack, Text } from "@mantine/core";
import { CircleAlert } from "lucide-react";
import type { ProblemView } from "../../lib/problems";

interface Props {
  title: string;
  problem: ProblemView;
  /** `warn` for a state the user may well live with. */
  tone?: "bad" | "warn";
  children?: React.ReactNode;
}

/** What happened, what to do, and the buttons that do it. */
export function ProblemAlert({ title, problem, tone = "bad", children }: Props) {
  return (
    <Alert
      color={tone === "bad" ? "red" : "yellow"}
      variant="light"
      icon={<CircleAlert size={18} aria-hidden />}
      title={title}
    >
      <Stack gap="xs">
        <Text size="sm" style={{ overflowWrap: "anywhere" }}>
          {problem.message} {problem.hint}
        </Text>
        {children !== undefined && <Group gap="xs">{children}</Group>}
      </Stack>
    </Alert>
  );
}
