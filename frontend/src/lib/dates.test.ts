import { expect, it } from "vitest";
import { formatTime, formatWhen, formatWhenExactly } from "./dates";

const AT = new Date(2026, 10, 4, 9, 5, 59);

it("names a moment without its seconds, or with them", () => {
  expect(formatWhen(AT.toISOString())).toBe("4 Nov 2026, 09:05");
  expect(formatWhenExactly(AT.toISOString())).toBe("4 Nov 2026, 09:05:59");
});

it("names a time of today", () => {
  expect(formatTime(AT.getTime())).toBe("09:05:59");
});
