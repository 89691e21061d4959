import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useCompareStore } from "../../stores/compareStore";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { model, system } from "../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { ComparedSide, ComparedToken, CompareRequest, CompareStep, Comparison } from "../../types/compare";
import ComparePanel from "./ComparePanel";

const COPY = model({ id: "m2", quantization: "4bit" });
const PLAIN = model({ id: "m3", model_id: "openai-community/gpt2", has_chat_template: false });
const ENCODER = model({ id: "m4", model_id: "google/bert", generates_text: false });

beforeEach(() => {
  useCompareStore.setState({ ...useCompareStore.getInitialState() });
  const rows = [model(), COPY, PLAIN, ENCODER];
  useModelsStore.setState({
    ...applyList({ byId: {}, ids: [], live: {}, pending: {} }, rows),
    load: { state: "ready" },
  });
});

function token(text: string, logprob: number, other: number | null, choice?: string): ComparedToken {
  const id = text.charCodeAt(0);
  return {
    id,
    text,
    logprob,
    other_logprob: other,
    other_choice: other === null ? null : { id: choice === undefined ? id : 9, text: choice ?? text, logprob: -0.5 },
  };
}

function side(changes: Partial<ComparedSide>): ComparedSide {
  return {
    id: "m1",
    model_id: "Qwen/Qwen3-0.6B",
    commit: "c".repeat(40),
    quantization: "none",
    text: "",
    tokens: [],
    finish_reason: "length",
    first_divergence: 1,
    ...changes,
  };
}

const RESULT: Comparison = {
  left: side({ tokens: [token(" Paris", -0.2, -0.25), token(".", -0.6, -3.1, ",")] }),
  right: side({ id: "m2", quantization: "4bit", tokens: [token(" Paris", -0.25, -0.2), token(",", -0.5, -1.2, ".")] }),
  first_divergence: 1,
  agreement: { tokens: 4, same_choice: 2, mean_difference: 0.825, largest_difference: 2.5 },
  reason: null,
};

const STEP: CompareStep = {
  side: "right",
  work: "write",
  waiting: false,
  phase: "loading",
  message: "reading weights",
  bytes_done: 1_000_000_000,
  bytes_total: 2_000_000_000,
};

/** Answers with events; without an end it hangs until it is stopped. */
function answers(events: object[], { ends = true } = {}) {
  const asked: CompareRequest[] = [];
  let aborted = false;
  server.use(
    http.post(api("/compare"), async ({ request }) => {
      asked.push((await request.json()) as CompareRequest);
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          for (const event of events)
            controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(event)}\n\n`));
          if (ends) controller.close();
        },
        cancel() {
          aborted = true;
        },
      });
      return new HttpResponse(stream, { headers: { "Content-Type": "text/event-stream" } });
    }),
  );
  return { asked, wasAborted: () => aborted };
}

it("compares a model with its copy, which is chosen for it", async () => {
  const { asked } = answers([{ step: STEP }, { done: true, result: RESULT }]);
  renderPage(<ComparePanel />, "/compare?left=m1");
  expect(screen.getByRole("combobox", { name: "Left model" })).toHaveValue("Qwen/Qwen3-0.6B, full precision, bfloat16");
  expect(screen.getByRole("combobox", { name: "Right model" })).toHaveValue("Qwen/Qwen3-0.6B, 4-bit");
  expect(screen.getByRole("button", { name: "Compare" })).toBeDisabled();
  await userEvent.type(screen.getByRole("textbox", { name: "Text to continue" }), "The capital of France is");
  await userEvent.keyboard("{Control>}{Enter}{/Control}");
  expect(
    await screen.findByText("The texts are the same for 1 token; then the left one has “.”, the right one “,”."),
  ).toBeVisible();
  expect(screen.getByText("The other model finds 2 of 4 tokens the most likely too.")).toBeVisible();
  expect(screen.getByText("Log-probabilities differ by 0.825 nats on average, 2.500 at most.")).toBeVisible();
  expect(asked).toEqual([
    { left: "m1", right: "m2", prompt: "The capital of France is", max_new_tokens: 64, stream: true },
  ]);
  await expectAccessible();
});

it("shows the numbers of a token to the mouse and to the keyboard, and where the texts part", async () => {
  useCompareStore.setState({ result: RESULT });
  renderPage(<ComparePanel />, "/compare");
  const left = screen.getByRole("region", { name: "Left model, Qwen/Qwen3-0.6B" });
  const [first, second] = within(left).getAllByRole("option");
  expect(first).toHaveAttribute("data-level", "none");
  expect(second).toHaveAttribute("data-level", "large");
  expect(second?.getAttribute("aria-label")).toMatch(/^First difference\. “\.”: log-probability −0\.60 \(54\.9 %\)/);
  if (second === undefined) throw new Error("there is no second token");
  await userEvent.hover(second);
  const facts =
    "“.”: log-probability −0.60 (54.9 %), other model −3.10 (4.5 %), difference 2.50; it would choose “,” at −0.50 (60.7 %)";
  expect(within(left).getByText(facts)).toBeVisible();
  await userEvent.unhover(second);
  within(left).getByRole("listbox").focus();
  await userEvent.keyboard("{ArrowRight}{ArrowRight}");
  expect(within(left).getByText(facts)).toBeVisible();
  expect(second).toHaveAttribute("aria-selected", "true");
  await userEvent.keyboard("{Home}");
  expect(within(left).getByText(/^“ Paris”: log-probability −0\.20 \(81\.9 %\).*its choice too$/)).toBeVisible();
  await expectAccessible();
});

it("says what it waits for, and stops", async () => {
  const { wasAborted } = answers([{ step: STEP }], { ends: false });
  useCompareStore.setState({ prompt: "The" });
  renderPage(<ComparePanel />, "/compare?left=m3&right=m2");
  await userEvent.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText("Qwen3-0.6B: loading: reading weights, 1.00 GB of 2.00 GB")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Stop" }));
  expect(await screen.findByText("Stopped")).toBeVisible();
  await waitFor(() => expect(wasAborted()).toBe(true));
});

it("offers only models that generate text, and chat only where both have a template", async () => {
  const { asked } = answers([{ done: true, result: { ...RESULT, agreement: null, reason: "The tokenizers differ." } }]);
  renderPage(<ComparePanel />, "/compare?left=m1");
  await userEvent.click(screen.getByRole("combobox", { name: "Right model" }));
  expect(screen.queryByRole("option", { name: /bert/ })).toBeNull();
  await userEvent.click(screen.getByRole("option", { name: /gpt2/ }));
  expect(screen.getByText("Chat is not available: gpt2 has no chat template.")).toBeVisible();
  expect(screen.getByRole("radio", { name: "Chat" })).toBeDisabled();
  await userEvent.click(screen.getByRole("combobox", { name: "Right model" }));
  await userEvent.click(screen.getByRole("option", { name: /4-bit/ }));
  await userEvent.click(screen.getByRole("radio", { name: "Chat" }));
  await userEvent.type(screen.getByRole("textbox", { name: "Message" }), "Hello");
  await userEvent.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText("The tokenizers differ.")).toBeVisible();
  expect(asked[0]?.messages).toEqual([{ role: "user", content: "Hello" }]);
  expect(screen.queryByText("Difference in nats:")).toBeNull();
});

it("shows why a comparison failed, before its stream or in it", async () => {
  useCompareStore.setState({ prompt: "The" });
  server.use(
    http.post(api("/compare"), () =>
      refuse({
        status: 404,
        code: "model_not_found",
        detail: "There is no model 'm2' here.",
        hint: "Look.",
        title: "x",
        type: "x",
      }),
    ),
  );
  renderPage(<ComparePanel />, "/compare?left=m1");
  await userEvent.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText(/There is no model 'm2' here\. Look\./)).toBeVisible();
  answers([
    { done: true, error: { code: "out_of_memory", message: "It needs 1.00 TB.", hint: "Take 4-bit.", side: "left" } },
  ]);
  await userEvent.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText(/It needs 1\.00 TB\. Take 4-bit\./)).toBeVisible();
});

it("keeps the tokens of one character together", () => {
  const half = token("", -1, -1);
  useCompareStore.setState({
    result: {
      ...RESULT,
      left: side({ tokens: [half, token("🦙", -1, -1.3), token("\n", -1, -1)], first_divergence: 3 }),
    },
  });
  renderPage(<ComparePanel />, "/compare");
  const left = screen.getByRole("region", { name: "Left model, Qwen/Qwen3-0.6B" });
  expect(
    within(left)
      .getAllByRole("option")
      .map((option) => option.textContent),
  ).toEqual(["🦙", "↵\n"]);
  expect(within(left).getByText(/The text ends here/)).toBeVisible();
});

it("says what is missing where nothing can load a model", async () => {
  const user = userEvent.setup();
  const install = "pip install 'modelyard[torch]'";
  const missing = [{ extra: "torch", needed_for: "Loading a model needs it.", install }];
  useSystemStore.setState({ system: system({ extras: { torch: false, sae: false }, missing }) });
  renderPage(<ComparePanel />, "/compare?left=m1&right=m2");
  expect(screen.getByText("modelyard[torch] is not installed")).toBeVisible();
  await user.type(screen.getByRole("textbox", { name: /^(Text to continue|Message)/ }), "Hello");
  const button = screen.getByRole("button", { name: "Compare" });
  expect(button).toBeDisabled();
  expect(button).toHaveAttribute("title", `modelyard[torch] is not installed. Run: ${install}`);
  act(() => useSystemStore.setState({ system: system() }));
  expect(button).toBeEnabled();
});
