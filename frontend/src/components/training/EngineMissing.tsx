import { Alert, Text } from "@mantine/core";
import { PackagePlus } from "lucide-react";
import { useSystemStore } from "../../stores/systemStore";
import { CopyText } from "../common/CopyText";

/** Whether the server can train; null until it has said so. */
export function useEngine(): boolean | null {
  return useSystemStore((state) => (state.system === null ? null : state.system.extras.sae));
}

/** What to install where the training engine is not there. */
export function EngineMissing() {
  const extras = useSystemStore((state) => state.system?.extras);
  if (extras === undefined || extras.sae) return null;
  return (
    <Alert
      color="yellow"
      variant="light"
      icon={<PackagePlus size={18} aria-hidden />}
      title="Training needs SAELens, which is not installed"
    >
      <Text size="sm">
        Install it where the server runs, about 700 MB, then start the server again.
        {extras.torch && " Until then runs can be planned, not started."}
      </Text>
      {extras.sae_install && <CopyText text={extras.sae_install} label="command" />}
    </Alert>
  );
}
