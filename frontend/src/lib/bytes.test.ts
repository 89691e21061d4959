import { describe, expect, it } from "vitest";
import { formatBytes, formatCount, formatDuration, fraction } from "./bytes";

describe("formatBytes", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [12_345, "12.3 kB"],
    [497_000_000, "497 MB"],
    [999_499_999, "999 MB"],
    [999_500_000, "1.00 GB"],
    [1_503_300_328, "1.50 GB"],
    [99_960_000_000, "100 GB"],
    [-2_000_000_000, "−2.00 GB"],
  ])("%d is %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it("says unknown instead of zero", () => {
    expect(formatBytes(null)).toBe("unknown");
    expect(formatBytes(Number.NaN)).toBe("unknown");
  });
});

describe("formatCount", () => {
  it.each([
    [1234, "1,234"],
    [124_439_808, "124 M"],
    [596_049_920, "596 M"],
    [1_235_814_400, "1.24 B"],
    [70_553_706_496, "70.6 B"],
    [999_900_000, "1.00 B"],
  ])("%d is %s", (count, text) => expect(formatCount(count)).toBe(text));
});

describe("formatDuration", () => {
  it.each([
    [0, "0 s"],
    [59.4, "59 s"],
    [60, "1 min"],
    [3600, "1 h"],
    [4800, "1 h 20 min"],
    [300_000, "3 days"],
  ])("%d s is %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  it("is empty while the time is not known", () => expect(formatDuration(null)).toBe(""));
});

it("never shows a share beyond the ends, nor one of an unknown total", () => {
  expect(fraction(5, 4)).toBe(1);
  expect(fraction(1, 4)).toBe(0.25);
  expect(fraction(1, null)).toBeNull();
  expect(fraction(0, 0)).toBeNull();
});
