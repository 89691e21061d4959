import { expect, it } from "vitest";
import { model } from "../test/fixtures";
import { DEFAULTS, openaiName, requestFor, suggestedMode } from "./trial";

it("begins with a chat only where there is a template", () => {
  expect([true, false, null].map((has_chat_template) => suggestedMode(model({ has_chat_template })))).toEqual([
    "chat",
    "text",
    "text",
  ]);
});

it("asks for what was set, and leaves out the rest", () => {
  expect(requestFor("a/b", "text", DEFAULTS, [], "So")).toEqual({
    path: "/completions",
    body: { model: "a/b", prompt: "So", max_tokens: 512, temperature: 0.7 },
  });
  const set = { ...DEFAULTS, topP: 0.5, seed: 3, stop: "a\n\nb\\nc\\\\", system: " ", logprobs: true };
  expect(requestFor("a/b", "text", set, [], "So").body).toMatchObject({
    top_p: 0.5,
    seed: 3,
    stop: ["a", "b\nc\\"],
    logprobs: 5,
  });
  expect(requestFor("a/b", "chat", set, [], "So").body).toMatchObject({
    messages: [{ role: "user", content: "So" }],
    logprobs: true,
    top_logprobs: 5,
  });
});

it("names a model by its commit only where another one would be meant without", () => {
  const row = model({ quantization: "4bit" });
  const others = [
    model({ id: "m2" }),
    model({ id: "m3", quantization: "4bit", status: "downloading" }),
    model({ id: "m4", quantization: "4bit", model_id: "Qwen/Qwen3-4B" }),
  ];
  expect(openaiName(row, [row, ...others])).toBe("Qwen/Qwen3-0.6B:4bit");
  expect(openaiName(row, [row, model({ id: "m5", quantization: "4bit" })])).toBe("Qwen/Qwen3-0.6B@c1899de289a0:4bit");
  expect(openaiName(model({ model_id: "local/a b" }), [])).toBe("m1");
});
