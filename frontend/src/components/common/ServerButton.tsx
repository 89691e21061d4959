import { Button, type ButtonProps } from "@mantine/core";
import { useAway } from "../../hooks/useAway";

type Props = ButtonProps & Omit<React.ComponentPropsWithoutRef<"button">, keyof ButtonProps>;

/** A button for what the server does: while it does not answer, it cannot be pressed and says why. */
export function ServerButton({ disabled = false, title, ...others }: Props) {
  const away = useAway();
  return <Button {...others} disabled={disabled || away !== undefined} title={away ?? title} />;
}
