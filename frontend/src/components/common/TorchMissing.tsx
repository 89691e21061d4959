import { Alert, Text } from "@mantine/core";
import { PackagePlus } from "lucide-react";
import { useSystemStore } from "../../stores/systemStore";
import { CopyText } from "./CopyText";

/** What to install where nothing can load a model. */
export function TorchMissing() {
  const system = useSystemStore((state) => state.system);
  const missing = system?.missing.find(({ extra }) => extra === "torch");
  if (!system || system.extras.torch || !missing) return null;
  return (
    <Alert
      color="yellow"
      mb="md"
      variant="light"
      icon={<PackagePlus size={18} aria-hidden />}
      title="modelyard[torch] is not installed"
    >
      <Text size="sm">
        {missing.needed_for} Install it where the server runs, then start the server again. Downloads work without it.
      </Text>
      <CopyText text={missing.install} label="command" wrap />
    </Alert>
  );
}
