import { Button } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import type { ReactNode } from "react";
import type { Ending } from "./endings";
import { type ProblemView, toProblem } from "./problems";

const DISMISS = { "aria-label": "Dismiss" };

export function toastProblem(title: string, error: unknown): void {
  toastRefusal(title, toProblem(error));
}

export function toastRefusal(title: string, { message, hint }: ProblemView): void {
  notifications.show({
    color: "red",
    title,
    message: hint === null ? message : `${message} ${hint}`,
    autoClose: 10_000,
    closeButtonProps: DISMISS,
  });
}

export function toastDone(title: string, message = ""): void {
  notifications.show({ color: "accent", title, message, autoClose: 5_000, closeButtonProps: DISMISS });
}

/** Work came to an end; `action` is the next step. A later ending of the same row takes its place. */
export function toastEnding({ id, title, message, failed }: Ending, action: ReactNode): void {
  notifications.hide(id);
  notifications.show({
    id,
    color: failed ? "red" : "accent",
    title,
    message: (
      <>
        {message}
        {message !== "" && <br />}
        {action}
      </>
    ),
    autoClose: 10_000,
    closeButtonProps: DISMISS,
  });
}

/** Something that happens in a moment, and the way to stop it; the returned function takes the toast away. */
export function toastUndo(title: string, ms: number, undo: () => void): () => void {
  const id = notifications.show({
    color: "accent",
    title,
    message: (
      <Button size="compact-sm" variant="default" mt={8} onClick={undo}>
        Undo
      </Button>
    ),
    autoClose: ms,
    withCloseButton: false,
  });
  return () => notifications.hide(id);
}
