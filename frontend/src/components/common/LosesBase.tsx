import { Text } from "@mantine/core";

/** Names the adapters that have no base after a deletion; nothing where there are none. */
export function LosesBase({ adapters = [] }: { adapters: string[] | undefined }) {
  if (adapters.length === 0) return null;
  const stay = adapters.length === 1 ? "This adapter loses its base model" : "These adapters lose their base model";
  return (
    <Text>
      {stay}: <span className="mono">{adapters.join(", ")}</span>
    </Text>
  );
}
