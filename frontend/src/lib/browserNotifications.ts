/** Notifications of the browser, for whoever turned them on: never asked for unasked. */
import type { Ending } from "./endings";

const WANTED = "modelyard.notifications";

export type Permission = NotificationPermission | "unsupported";

/** What the browser allows. Over plain HTTP from another machine it offers none. */
export function permission(): Permission {
  return "Notification" in window && window.isSecureContext ? Notification.permission : "unsupported";
}

export function areWanted(): boolean {
  return localStorage.getItem(WANTED) === "on" && permission() === "granted";
}

/** Asks the browser where it has not been asked; resolves to what it allows. */
export async function turnOn(): Promise<Permission> {
  const allowed = permission() === "default" ? await Notification.requestPermission() : permission();
  if (allowed === "granted") localStorage.setItem(WANTED, "on");
  return allowed;
}

export function turnOff(): void {
  localStorage.removeItem(WANTED);
}

/** Tells of an ending where the page is not looked at. */
export function notifyInBackground({ id, title, message }: Ending, open: () => void): void {
  if (!document.hidden || !areWanted()) return;
  const notification = new Notification(title, { body: message, tag: id });
  notification.onclick = () => {
    window.focus();
    open();
    notification.close();
  };
}
