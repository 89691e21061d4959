import { Title } from "@mantine/core";

/** Names a part of what is shown of one thing. */
export function Subheading({ children }: { children: React.ReactNode }) {
  return (
    <Title order={3} fz="sm" mb={4}>
      {children}
    </Title>
  );
}
