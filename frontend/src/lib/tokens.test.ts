import { expect, it } from "vitest";
import { formatProbability, readTokens, stretches, visibleToken } from "./tokens";

it("reads both of OpenAI's forms alike", () => {
  expect(readTokens(null)).toEqual([]);
  const chat = readTokens({
    content: [
      { token: "\ufffd", logprob: -1, bytes: [0xf0, 0x9f], top_logprobs: [{ token: "a", logprob: -0.5, bytes: [97] }] },
    ],
  });
  const text = readTokens({
    tokens: ["bytes:\\xf0\\x9f"],
    token_logprobs: [-1],
    top_logprobs: [{ a: -0.5 }],
    text_offset: [0],
  });
  expect(chat).toEqual(text);
  expect(chat).toEqual([
    { text: "bytes:\\xf0\\x9f", logprob: -1, bytes: [0xf0, 0x9f], top: [{ text: "a", logprob: -0.5 }] },
  ]);
});

it("orders the likeliest tokens, and knows that the first of a text has none", () => {
  const [first, second] = readTokens({
    tokens: ["a", "b"],
    token_logprobs: [null, -2],
    top_logprobs: [null, { b: -2, c: -1 }],
    text_offset: [0, 1],
  });
  expect(first?.top).toEqual([]);
  expect(second?.top.map(({ text }) => text)).toEqual(["c", "b"]);
});

it("puts the tokens of one character together", () => {
  const token = (text: string, bytes: number[]) => ({ text, logprob: -1, bytes, top: [] });
  const parts = stretches([token("a", [97]), token("x", [0xf0, 0x9f]), token("y", [0x99, 0x82]), token("z", [0xf0])]);
  expect(parts.map(({ text, tokens }) => [text, tokens.length])).toEqual([
    ["a", 1],
    ["🙂", 2],
    ["\ufffd", 1],
  ]);
});

it("writes probabilities and spaces so that they can be read", () => {
  expect([0, Math.log(0.931), Math.log(0.041), Math.log(0.00001), null].map(formatProbability)).toEqual([
    "100.0 %",
    "93.1 %",
    "4.1 %",
    "< 0.01 %",
    "",
  ]);
  expect(visibleToken(" a\n\t")).toBe("·a↵⇥");
});
