import { expect, it } from "vitest";
import { formatWhen } from "./dates";

it("names a moment without its seconds", () => {
  expect(formatWhen(new Date(2026, 10, 4, 9, 5, 59).toISOString())).toBe("4 Nov 2026, 09:05");
});
