import { expect, it } from "vitest";
import { formatGap, takesMore, formatUnload } from "./measured";

it("remarks on a gap only beyond two percent", () => {
  const gap = (estimated: number | null, measured: number | null) =>
    formatGap({ memory_estimated_bytes: estimated, memory_measured_bytes: measured });
  expect(gap(1000, 1020)).toBeNull();
  expect(gap(1000, 1021)).toBe("2.1 % more than estimated");
  expect(gap(1000, 750)).toBe("25 % less than estimated");
  expect(formatGap({ memory_estimated_bytes: 1000, memory_measured_bytes: 750 }, "the 1.00 kB estimated")).toBe(
    "25 % less than the 1.00 kB estimated",
  );
  expect(gap(null, 750)).toBeNull();
  expect(gap(1000, null)).toBeNull();
});

it("knows more from less, and neither where a figure is missing", () => {
  const more = (estimated: number | null, measured: number | null) =>
    takesMore({ memory_estimated_bytes: estimated, memory_measured_bytes: measured });
  expect(more(1000, 1500)).toBe(true);
  expect([more(1000, 500), more(1000, null), more(null, 500)]).toEqual([false, false, false]);
});

it("says what an unload gave back", () => {
  expect(formatUnload({ freed_bytes: 7_610_000, held_before_bytes: 4_890_000, mapped_bytes: 0 })).toBe(
    "7.61 MB freed, all of the 4.89 MB it held",
  );
  expect(formatUnload({ freed_bytes: 4e9, held_before_bytes: 5e9, mapped_bytes: 0 })).toBe(
    "4.00 GB freed of the 5.00 GB it held",
  );
});

it("counts only what was in memory of weights that are mapped from files", () => {
  const unload = { freed_bytes: 23_200_000, held_before_bytes: 90_900_000, mapped_bytes: 67_900_000 };
  expect(formatUnload(unload)).toBe(
    "23.2 MB freed, all of the 23.0 MB it held; 67.9 MB were only mapped from its files",
  );
});
