import { Group, Text } from "@mantine/core";
import { CodeBlock } from "../common/CodeBlock";
import { CopyCode } from "../common/CopyCode";

/** Lines that load an SAE in a notebook, with a button that copies them. */
export function NotebookCode({ lines }: { lines: string }) {
  return (
    <>
      <Group justify="space-between" gap="xs">
        <Text fw={620} size="sm">
          Use it in a notebook
        </Text>
        <CopyCode code={lines} />
      </Group>
      <CodeBlock label="Code for a notebook">{lines}</CodeBlock>
    </>
  );
}
