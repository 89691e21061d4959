import { Button } from "@mantine/core";
import { DialogButtons } from "./DialogButtons";
import { ServerButton } from "./ServerButton";

interface Props {
  /** What the deletion frees, where that is known: "Delete and free 1.2 GB". */
  label: string;
  keep?: string;
  busy?: boolean;
  disabled?: boolean;
  onKeep: () => void;
  onDelete: () => void;
}

/** The answers to a question whether to delete; the one that keeps has the focus. */
export function DeleteAnswers({ label, keep = "Keep it", busy = false, disabled = false, onKeep, onDelete }: Props) {
  return (
    <DialogButtons>
      <Button variant="default" onClick={onKeep} data-autofocus>
        {keep}
      </Button>
      <ServerButton color="red" loading={busy} disabled={disabled} onClick={onDelete}>
        {label}
      </ServerButton>
    </DialogButtons>
  );
}
