import { notifications } from "@mantine/notifications";
import { toProblem } from "./problems";

const DISMISS = { "aria-label": "Dismiss" };

export function toastProblem(title: string, error: unknown): void {
  const { message, hint } = toProblem(error);
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
