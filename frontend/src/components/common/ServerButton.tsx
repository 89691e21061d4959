import { Button, type ButtonProps } from "@mantine/core";
import { useOfflineReason } from "../../hooks/useOfflineReason";

type Props = ButtonProps &
  Omit<React.ComponentPropsWithoutRef<"button">, keyof ButtonProps> & {
    /** Why it cannot be pressed, besides that. */
    why?: string | undefined;
  };

/** A button for what the server does: while it does not answer, it cannot be pressed and says why. */
export function ServerButton({ disabled = false, title, why, ...others }: Props) {
  const away = useOfflineReason();
  const reason = away ?? why;
  return <Button {...others} disabled={disabled || reason !== undefined} title={reason ?? title} />;
}
