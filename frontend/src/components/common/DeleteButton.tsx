import { Trash2 } from "lucide-react";
import { ServerButton } from "./ServerButton";

type Props = Pick<React.ComponentProps<typeof ServerButton>, "size" | "disabled" | "onClick">;

/** Opens the question whether to delete. */
export function DeleteButton(props: Props) {
  return (
    <ServerButton {...props} color="red" variant="outline" leftSection={<Trash2 size={14} aria-hidden />}>
      Delete…
    </ServerButton>
  );
}
