import { Button } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { Check, Copy } from "lucide-react";

/** Copies code or another text, and says so for a moment. */
export function CopyCode({ code, label = "Copy code" }: { code: string; label?: string }) {
  const clipboard = useClipboard({ timeout: 1500 });
  const Icon = clipboard.copied ? Check : Copy;
  return (
    <Button
      size="compact-sm"
      variant="default"
      leftSection={<Icon size={13} aria-hidden />}
      onClick={() => clipboard.copy(code)}
    >
      {clipboard.copied ? "Copied" : label}
    </Button>
  );
}
