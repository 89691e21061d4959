/** Moments as people read them, in their own time zone. */

const DAY = { day: "numeric", month: "short", year: "numeric" } as const;
const MINUTE = { hour: "2-digit", minute: "2-digit" } as const;
const SECOND = { ...MINUTE, second: "2-digit" } as const;

const WHEN = new Intl.DateTimeFormat("en-GB", { ...DAY, ...MINUTE });
const WHEN_EXACTLY = new Intl.DateTimeFormat("en-GB", { ...DAY, ...SECOND });
const TIME = new Intl.DateTimeFormat("en-GB", SECOND);

/** 24 Nov 2026, 10:00 */
export function formatWhen(at: string): string {
  return WHEN.format(new Date(at));
}

/** 24 Nov 2026, 10:00:05 */
export function formatWhenExactly(at: string): string {
  return WHEN_EXACTLY.format(new Date(at));
}

/** 10:00:05 */
export function formatTime(at: number): string {
  return TIME.format(at);
}
