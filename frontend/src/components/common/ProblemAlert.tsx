import { Alert, Anchor, Group, Stack, Text } from "@mantine/core";
import { CircleAlert } from "lucide-react";
import { helpAddress, onlyRepeats, type ProblemView } from "../../lib/problems";
import classes from "./ProblemAlert.module.css";

interface Props {
  title: string;
  problem: ProblemView;
  /** `warn` for a state the user may well live with. */
  tone?: "bad" | "warn";
  children?: React.ReactNode;
}

/** What happened, what to do, and the buttons that do it. */
export function ProblemAlert({ title, problem, tone = "bad", children }: Props) {
  const help = helpAddress(problem.code);
  return (
    <Alert
      color={tone === "bad" ? "red" : "yellow"}
      variant="light"
      icon={<CircleAlert size={18} aria-hidden />}
      title={title}
    >
      <Stack gap="xs">
        <Text size="sm" className={classes.text}>
          {problem.message} {children !== undefined && onlyRepeats(problem.hint) ? null : problem.hint}{" "}
          {help !== null && (
            <Anchor href={help} target="_blank" rel="noreferrer" fz="inherit" underline="always">
              More about this error
            </Anchor>
          )}
        </Text>
        {children !== undefined && (
          <Group gap="xs" className={classes.actions}>
            {children}
          </Group>
        )}
      </Stack>
    </Alert>
  );
}
