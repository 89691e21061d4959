import { expect, it } from "vitest";
import { historyEvent } from "../test/fixtures";
import { eventFigures, eventTone, eventLabel } from "./history";

it("says what happened in words", () => {
  expect(eventLabel({ kind: "download", event: "done" })).toBe("Downloaded");
  expect(eventLabel({ kind: "verify", event: "paused" })).toBe("Verification paused");
  expect(eventLabel({ kind: "quantize", event: "taken_over" })).toBe("Quantization continued by another worker");
  expect(eventLabel({ kind: "files", event: "missing" })).toBe("Files missing");
  expect(eventLabel({ kind: "version", event: "done" })).toBe("Became the version in use");
});

it("gives each event a tone", () => {
  expect(eventTone({ event: "failed" })).toBe("bad");
  expect(eventTone({ event: "done" })).toBe("good");
  expect(eventTone({ event: "paused" })).toBe("quiet");
});

it("tells figures as far as they are known", () => {
  expect(eventFigures(historyEvent())).toBe("1.50 GB in 30 s, 50.0 MB/s");
  // Events of before the bytes of the time were kept.
  expect(eventFigures(historyEvent({ moved_bytes: null }))).toBe("1.50 GB in 30 s");
  expect(eventFigures(historyEvent({ kind: "load", seconds: 0.84, moved_bytes: null }))).toBe("1.50 GB in 0.8 s");
  expect(eventFigures(historyEvent({ kind: "verify", seconds: 0.02 }))).toBe("1.50 GB in less than 0.1 s");
  expect(eventFigures(historyEvent({ seconds: null }))).toBe("1.50 GB");
  expect(eventFigures(historyEvent({ seconds: null, bytes: null }))).toBe("");
});

it("tells a rate of the bytes that moved in the time it names", () => {
  const resumed = historyEvent({ bytes: 273_000_000, moved_bytes: 160_000_000, seconds: 20 });
  expect(eventFigures(resumed)).toBe("273 MB, the last 160 MB in 20 s, 8.00 MB/s");
  expect(eventFigures(historyEvent({ moved_bytes: 0, seconds: 2 }))).toBe("1.50 GB, already in the cache");
});

it("tells what an unload gave back, where that is known", () => {
  const unload = { kind: "unload", seconds: null, moved_bytes: null } as const;
  expect(eventFigures(historyEvent({ ...unload, freed_bytes: 23_200_000 }))).toBe("23.2 MB freed");
  expect(eventFigures(historyEvent({ ...unload, freed_bytes: null }))).toBe("");
});
