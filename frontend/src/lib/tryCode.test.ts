import { expect, it } from "vitest";
import { model } from "../test/fixtures";
import { DEFAULTS, requestFor } from "./trial";
import { curlCode, openaiCode, transformersCode } from "./tryCode";

const BASE = "http://127.0.0.1:8000/v1";
const SET = { ...DEFAULTS, topP: 0.9, seed: 7, stop: "END", logprobs: true };

it("writes a request for curl, quotes and all", () => {
  expect(curlCode(BASE, requestFor("a/b", "text", DEFAULTS, [], "It's\n"))).toBe(
    [
      `curl ${BASE}/completions \\`,
      '  -H "Authorization: Bearer ${MODELYARD_API_KEY:-none}" \\',
      '  -H "Content-Type: application/json" \\',
      "  -d '{",
      '  "model": "a/b",',
      String.raw`  "prompt": "It'\''s\n",`,
      '  "max_tokens": 512,',
      '  "temperature": 0.7',
      "}'",
    ].join("\n"),
  );
});

it("writes it with the openai package", () => {
  expect(openaiCode(BASE, requestFor("a/b", "chat", SET, [], "Hi"))).toBe(`import os

from openai import OpenAI

client = OpenAI(base_url="${BASE}", api_key=os.environ.get("MODELYARD_API_KEY", "none"))
answer = client.chat.completions.create(
    model="a/b",
    messages=[
        {"role": "user", "content": "Hi"},
    ],
    max_tokens=512,
    temperature=0.7,
    top_p=0.9,
    seed=7,
    stop=["END"],
    logprobs=True,
    top_logprobs=5,
)
print(answer.choices[0].message.content)`);
});

it("writes it with transformers, drawing only where there is a temperature", () => {
  const drawn = transformersCode(model(), requestFor("a/b", "chat", SET, [], "Hi"));
  expect(drawn).toContain('AutoModelForCausalLM.from_pretrained("Qwen/Qwen3-0.6B", dtype="auto")');
  expect(drawn).toContain("set_seed(7)");
  expect(drawn).toContain(
    'max_new_tokens=512, do_sample=True, temperature=0.7, top_p=0.9, stop_strings=["END"], tokenizer=tokenizer)',
  );
  const greedy = transformersCode(model(), requestFor("a/b", "text", { ...SET, temperature: 0 }, [], "So"));
  expect(greedy).toContain('inputs = tokenizer("So", return_tensors="pt").to(model.device)');
  expect(greedy).toContain("do_sample=False, stop_strings");
  expect(greedy).not.toContain("seed");
  const copy = transformersCode(model({ quantization: "4bit" }), requestFor("a/b", "text", DEFAULTS, [], "So"));
  expect(copy).toContain('model, tokenizer = modelyard.load("Qwen/Qwen3-0.6B", quantization="4bit")');
});

it("sends what OpenAI's API does not have as its package wants it", () => {
  const clamps = [{ saeId: "s1", saeName: "layer 14", feature: 7, value: 3 }];
  const code = openaiCode(BASE, requestFor("a/b", "text", { ...DEFAULTS, clamps }, [], "Hi"));
  expect(code).toContain('    extra_body={"modelyard": {"interventions": [');
  expect(code).toContain('{"op": "sae_clamp", "sae_id": "s1", "feature": 7, "value": 3, "positions": "all"},');
});
