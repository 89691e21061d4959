/** Moments as people read them. */

const WHEN = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

/** 24 Nov 2026, 10:00; in the reader's time zone. */
export function formatWhen(at: string): string {
  return WHEN.format(new Date(at));
}
