import { expect, it } from "vitest";
import { historyEvent } from "../test/fixtures";
import { eventFigures, eventTone, eventWords } from "./history";

it("says what happened in words", () => {
  expect(eventWords({ kind: "download", event: "done" })).toBe("Downloaded");
  expect(eventWords({ kind: "verify", event: "paused" })).toBe("Verification paused");
  expect(eventWords({ kind: "quantize", event: "taken_over" })).toBe("Quantization taken up by another worker");
  expect(eventWords({ kind: "files", event: "missing" })).toBe("Files vanished from the disk");
});

it("gives each event a tone", () => {
  expect(eventTone({ event: "failed" })).toBe("bad");
  expect(eventTone({ event: "done" })).toBe("good");
  expect(eventTone({ event: "paused" })).toBe("quiet");
});

it("tells figures as far as they are known", () => {
  expect(eventFigures(historyEvent())).toBe("1.50 GB in 30 s, 50.0 MB/s");
  expect(eventFigures(historyEvent({ kind: "load", seconds: 0.84 }))).toBe("1.50 GB in 0.8 s");
  expect(eventFigures(historyEvent({ kind: "verify", seconds: 0.02 }))).toBe("1.50 GB in less than 0.1 s");
  expect(eventFigures(historyEvent({ seconds: null }))).toBe("1.50 GB");
  expect(eventFigures(historyEvent({ seconds: null, bytes: null }))).toBe("");
});
