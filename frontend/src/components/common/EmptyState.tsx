import { Stack, Text, Title } from "@mantine/core";
import classes from "./EmptyState.module.css";

/** What there is to see when there is nothing to see, and the step that moves on. */
export function EmptyState({ title, children, action }: { title: string; children?: React.ReactNode; action?: React.ReactNode }) {
  return (
    <Stack align="center" gap="xs" className={classes.empty}>
      <Title order={2}>{title}</Title>
      {children !== undefined && (
        <Text component="div" c="dimmed" ta="center" maw={520}>
          {children}
        </Text>
      )}
      {action !== undefined && <div className={classes.action}>{action}</div>}
    </Stack>
  );
}
