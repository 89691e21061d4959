import { Alert, Text } from "@mantine/core";
import { PackagePlus } from "lucide-react";
import { useMissingTorch } from "../../hooks/useTorchReason";
import { CopyText } from "./CopyText";

/** What to install where nothing can load a model. */
export function TorchMissing() {
  const missing = useMissingTorch();
  if (missing === undefined) return null;
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
