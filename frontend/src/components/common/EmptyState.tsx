import { Stack, Text, Title } from "@mantine/core";
import classes from "./EmptyState.module.css";

interface Props {
  title: string;
  /** 1 where it is the whole page. */
  order?: 1 | 2;
  children?: React.ReactNode;
  action?: React.ReactNode;
}

/** What there is to see when there is nothing to see, and the step that moves on. */
export function EmptyState({ title, order = 2, children, action }: Props) {
  return (
    <Stack align="center" gap="xs" className={classes.empty}>
      <Title order={order} size="h2">
        {title}
      </Title>
      {children !== undefined && (
        <Text component="div" c="dimmed" ta="center" maw={520}>
          {children}
        </Text>
      )}
      {action !== undefined && <div className={classes.action}>{action}</div>}
    </Stack>
  );
}
