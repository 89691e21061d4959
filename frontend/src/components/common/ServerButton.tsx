import { Button, type ButtonProps } from "@mantine/core";
import { useOfflineReason } from "../../hooks/useOfflineReason";

type Props = ButtonProps & Omit<React.ComponentPropsWithoutRef<"button">, keyof ButtonProps>;

/** A button for what the server does: while it does not answer, it cannot be pressed and says why. */
export function ServerButton({ disabled = false, title, ...others }: Props) {
  const away = useOfflineReason();
  return <Button {...others} disabled={disabled || away !== undefined} title={away ?? title} />;
}
