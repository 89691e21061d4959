import { expect, it, vi } from "vitest";
import { DEFAULTS, type Turn } from "../lib/trial";
import { type SavedTrial, savedTrial, saveTrial } from "./savedTrials";

const turn = (answer: string): Turn => ({ asked: "So", answer, tokens: [], figures: null });

function trial(changes: Partial<SavedTrial> = {}): SavedTrial {
  return {
    mode: "chat",
    drafts: { chat: "", text: "" },
    turns: { chat: [turn("one")], text: [] },
    settings: DEFAULTS,
    ...changes,
  };
}

it("keeps a conversation without its log-probabilities", () => {
  const token = { text: "one", logprob: -1, bytes: [], top: [] };
  saveTrial("m1", trial({ turns: { chat: [{ ...turn("one"), tokens: [token] }], text: [] } }));
  expect(savedTrial("m1")).toEqual(trial());
  expect(savedTrial("m2")).toBeNull();
});

it("leaves what another version of the page wrote", () => {
  localStorage.setItem("modelyard.try.m1", JSON.stringify({ ...trial(), version: 0 }));
  expect(savedTrial("m1")).toBeNull();
});

it("keeps the latest turns of a long conversation, and the models used last", () => {
  saveTrial("m0", trial({ turns: { chat: ["a", "b", "c"].map((letter) => turn(letter.repeat(90_000))), text: [] } }));
  expect(savedTrial("m0")?.turns.chat.map(({ answer }) => answer[0])).toEqual(["b", "c"]);
  for (let index = 1; index <= 20; index += 1) saveTrial(`m${index}`, trial());
  expect(savedTrial("m0")).toBeNull();
  expect(savedTrial("m1")).toEqual(trial());
});

it("makes room with older conversations where the browser has none", () => {
  saveTrial("m1", trial());
  saveTrial("m2", trial());
  const setItem = localStorage.setItem.bind(localStorage);
  const full = () => localStorage.getItem("modelyard.try.m1") !== null;
  vi.spyOn(Storage.prototype, "setItem").mockImplementation((key, value) => {
    if (full()) throw new DOMException("full", "QuotaExceededError");
    setItem(key, value);
  });
  saveTrial("m3", trial());
  expect([savedTrial("m1"), savedTrial("m2"), savedTrial("m3")]).toEqual([null, trial(), trial()]);
});
