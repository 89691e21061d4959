import type { AnswerRequest, Model } from "../types/model";
import { loadSnippet } from "./labels";

/** A request as a command line; the key is that of the environment, and may be missing where the server has none. */
export function curlCode(base: string, { path, body }: AnswerRequest): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", String.raw`'\''`);
  return [
    `curl ${base}${path} \\`,
    '  -H "Authorization: Bearer ${MODELYARD_API_KEY:-none}" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${json}'`,
  ].join("\n");
}

/** The same with the `openai` package. */
export function openaiCode(base: string, { path, body }: AnswerRequest): string {
  const call = path === "/completions" ? "completions" : "chat.completions";
  const text = path === "/completions" ? "text" : "message.content";
  return [
    "import os",
    "",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(base)}, api_key=os.environ.get("MODELYARD_API_KEY", "none"))`,
    `answer = client.${call}.create(`,
    ...Object.entries(body).map(([name, value]) =>
      // What OpenAI's API does not have.
      name === "modelyard"
        ? `    extra_body=${literal({ modelyard: body.modelyard }, 1)},`
        : `    ${name}=${literal(value, 1)},`,
    ),
    ")",
    `print(answer.choices[0].${text})`,
  ].join("\n");
}

/** The same without the server. Its sampling draws other tokens from the same seed. */
export function transformersCode(model: Model, { path, body }: AnswerRequest): string {
  const { temperature = 1, seed } = body;
  const drawn = temperature > 0 && body.top_p !== 0;
  const stop = body.stop ?? [];
  const options = [
    `max_new_tokens=${literal(body.max_tokens ?? null)}`,
    `do_sample=${literal(drawn)}`,
    ...(drawn ? [`temperature=${literal(temperature)}`] : []),
    ...(drawn && body.top_p != null ? [`top_p=${literal(body.top_p)}`] : []),
    ...(stop.length > 0 ? [`stop_strings=${literal(stop)}`, "tokenizer=tokenizer"] : []),
  ];
  return [
    ...(drawn && seed != null ? ["from transformers import set_seed"] : []),
    loadSnippet(model),
    ...(drawn && seed != null ? [`set_seed(${seed})`] : []),
    ...(path === "/completions"
      ? [`inputs = tokenizer(${literal(body.prompt)}, return_tensors="pt").to(model.device)`]
      : [
          `messages = ${literal(body.messages)}`,
          "inputs = tokenizer.apply_chat_template(",
          '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
          ").to(model.device)",
        ]),
    `output = model.generate(**inputs, ${options.join(", ")})`,
    // What an encoder has read is no part of what is written.
    'begin = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]',
    "print(tokenizer.decode(output[0, begin:], skip_special_tokens=True))",
  ].join("\n");
}

/** A value of JSON as Python; strings are written alike in both. */
function literal(value: unknown, depth = 0): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== "object")) return `[${value.map((item) => literal(item)).join(", ")}]`;
    const inner = "    ".repeat(depth + 1);
    const items = value.map((item) => `${inner}${literal(item, depth + 1)},\n`).join("");
    return `[\n${items}${"    ".repeat(depth)}]`;
  }
  return `{${Object.entries(value)
    .map(([name, item]) => `${JSON.stringify(name)}: ${literal(item)}`)
    .join(", ")}}`;
}
