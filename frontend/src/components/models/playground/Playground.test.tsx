import { cleanup, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useModelsStore } from "../../../stores/modelsStore";
import { usePlaygroundStore } from "../../../stores/playgroundStore";
import { downloading, liveOf, model, outOfRoom, progress } from "../../../test/fixtures";
import { api, http, HttpResponse, server } from "../../../test/handlers";
import { refuses, streams } from "../../../test/openaiStream";
import { expectAccessible, renderPage } from "../../../test/render";
import type { ChatLogprobs } from "../../../types/model";
import Playground from "./Playground";

beforeEach(() => usePlaygroundStore.setState({ trials: {} }));

const BASE_MODEL = { has_chat_template: false };
const field = () => screen.getByRole("textbox", { name: /^(Text to continue|Message)$/ });
const button = (name: string | RegExp) => screen.getByRole("button", { name });
const chat = () => screen.getByRole("region", { name: "Chat with Qwen3-0.6B" });

async function say(words: string): Promise<void> {
  await userEvent.type(field(), `${words}{Enter}`);
}

/** Waits until what was asked has its whole answer. */
async function answered(): Promise<void> {
  await screen.findByRole("button", { name: /^(Send|Generate)$/ });
}

it("says why a model without a language head cannot be tried", () => {
  renderPage(<Playground model={model({ architecture: "BertModel", generates_text: false })} />);
  expect(screen.getByText("This model can't generate text")).toBeVisible();
  expect(screen.getByText(/BertModel has no language head/)).toBeVisible();
  expect(screen.queryByRole("textbox")).toBeNull();
});

it("goes on with what is paused, save where that has to wait for room", async () => {
  let resumed = 0;
  const row = downloading({ status: "paused" });
  server.use(
    http.post(api("/models/m1/resume"), () => {
      resumed += 1;
      return HttpResponse.json(downloading(), { status: 202 });
    }),
  );
  useModelsStore.setState(applyList({ byId: {}, ids: [], live: {}, pending: {} }, [row]));
  renderPage(<Playground model={row} />);
  await userEvent.click(button("Resume Qwen3-0.6B"));
  await waitFor(() => expect(resumed).toBe(1));
  cleanup();
  renderPage(<Playground model={outOfRoom()} />);
  expect(screen.getByText("Status: paused: disk full.")).toBeVisible();
  expect(screen.queryByRole("button")).toBeNull();
  useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} });
});

it("chats first where there is a template: Enter sends, Shift+Enter breaks the line", async () => {
  const { asked } = streams({ texts: ["Hello", " **there**."] });
  renderPage(<Playground model={model({ loaded: true })} />);
  expect(button("Send")).toBeDisabled();
  await userEvent.type(field(), "Hi{Shift>}{Enter}{/Shift}you{Enter}");
  expect(await screen.findByText("there")).toBeVisible();
  await answered();
  expect(field()).toHaveValue("");
  expect(within(chat()).getByText("there").tagName).toBe("STRONG");
  expect(asked).toEqual([
    {
      model: "m1",
      messages: [{ role: "user", content: "Hi\nyou" }],
      max_tokens: 512,
      temperature: 0.7,
      stream: true,
      stream_options: { include_usage: true },
    },
  ]);
  expect(within(chat()).getByRole("status")).toHaveTextContent(/^2 tokens · .*first token after [\d.]+ s · finished$/);
  await say("And?");
  await waitFor(() => expect(asked).toHaveLength(2));
  expect(asked[1]).toMatchObject({
    messages: [
      { role: "user", content: "Hi\nyou" },
      { role: "assistant", content: "Hello **there**." },
      { role: "user", content: "And?" },
    ],
  });
  await answered();
  await expectAccessible();
});

it("sends the settings, of which only the first ones must be given", async () => {
  const { asked } = streams({ texts: ["Yes"] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.click(button("Settings"));
  const number = (name: string) => screen.getByRole("textbox", { name });
  await userEvent.type(number("System prompt"), "Be brief.");
  await userEvent.clear(number("Max tokens"));
  await userEvent.type(field(), "Hi");
  expect(button("Send")).toBeDisabled();
  expect(screen.getByText("A number in the settings is missing")).toBeVisible();
  await userEvent.type(number("Max tokens"), "8");
  await userEvent.clear(number("Temperature"));
  await userEvent.type(number("Temperature"), "1");
  await userEvent.type(number("Top p"), "0.9");
  await userEvent.type(number("Seed"), "7");
  await userEvent.type(number("Stop strings"), "END{Enter}\\n\\n");
  await expectAccessible();
  await userEvent.click(button("Send"));
  await waitFor(() => expect(asked).toHaveLength(1));
  expect(asked[0]).toMatchObject({
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
    ],
    max_tokens: 8,
    temperature: 1,
    top_p: 0.9,
    seed: 7,
    stop: ["END", "\n\n"],
  });
  await answered();
  await userEvent.click(button("Reset"));
  expect(number("Max tokens")).toHaveValue("512");
});

it("continues a text where there is no template", async () => {
  const { asked } = streams({ texts: [" Par", "is."], finish: "length" });
  renderPage(<Playground model={model(BASE_MODEL)} />);
  expect(screen.getByRole("radio", { name: "Chat" })).toBeDisabled();
  expect(screen.getByText("Chat is not available: the tokenizer has no chat template.")).toBeVisible();
  expect(screen.getByText("The model is loaded first: 1.19 GB of weights.")).toBeVisible();
  await say("The capital of France is");
  await answered();
  const output = screen.getByRole("region", { name: "Text from Qwen3-0.6B" });
  expect(output).toHaveTextContent("The capital of France is Paris.");
  expect(within(output).getByRole("status")).toHaveTextContent(/token limit reached$/);
  expect(asked[0]).toMatchObject({ model: "m1", prompt: "The capital of France is", max_tokens: 512 });
  expect(field()).toHaveValue("The capital of France is");
  await expectAccessible();
});

it("says what loading it took the last time", () => {
  renderPage(<Playground model={model({ memory_measured_bytes: 1_300_000_000 })} />);
  expect(screen.getByText("The model is loaded first: 1.30 GB measured.")).toBeVisible();
});

it("sends nothing to a server that is away", async () => {
  const { asked } = streams({});
  useModelsStore.setState({ conn: "stale" });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("So");
  expect(button("Send")).toBeDisabled();
  expect(asked).toEqual([]);
  expect(field()).toHaveValue("So");
  useModelsStore.setState({ conn: "connecting" });
});

it("stops, ends the request, and keeps what came", async () => {
  const { wasAborted } = streams({ texts: ["endless"], instead: "nothing" });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("So");
  expect(await screen.findByText("endless")).toBeVisible();
  expect(screen.getByText("Generating")).toBeVisible();
  await userEvent.click(button("Stop"));
  await answered();
  expect(within(chat()).getByRole("status")).toHaveTextContent(/· stopped$/);
  await waitFor(() => expect(wasAborted()).toBe(true));
  expect(screen.getByText("endless")).toBeVisible();
});

it("gives a message back that was stopped before it was answered", async () => {
  streams({ instead: "nothing" });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("So");
  expect(await screen.findByText("Waiting for the first token")).toBeVisible();
  await userEvent.click(button("Stop"));
  expect(await screen.findByText("Stopped")).toBeVisible();
  expect(field()).toHaveValue("So");
  expect(screen.queryByRole("region", { name: /^Chat/ })).toBeNull();
});

it("says what the load before the first token does", async () => {
  const state = (fields: Parameters<typeof progress>[0]) =>
    useModelsStore.setState({ live: { m1: liveOf(model({ progress: progress({ phase: "loading", ...fields }) })) } });
  streams({ instead: "nothing" });
  renderPage(<Playground model={model()} />);
  await say("The capital");
  expect(await screen.findByText("Loading the model")).toBeVisible();
  state({ message: "waiting for another load", bytes_total: null });
  expect(await screen.findByText("Loading: waiting for another load")).toBeVisible();
  state({ message: "importing libraries", bytes_total: null });
  expect(await screen.findByText("Loading: importing libraries")).toBeVisible();
  state({ message: "reading weights", bytes_done: 300, bytes_total: 1000 });
  expect(await screen.findByText("Loading: reading weights, 30 %")).toBeVisible();
  await userEvent.click(button("Stop"));
  useModelsStore.setState({ live: {} });
  await answered();
});

it("regenerates the last answer, and edits a message with what follows it", async () => {
  const { asked } = streams({ texts: ["One."] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("First");
  await answered();
  await say("Second");
  await waitFor(() => expect(asked).toHaveLength(2));
  await answered();
  streams({ texts: ["Two."] });
  await userEvent.click(button("Regenerate"));
  expect(await screen.findByText("Two.")).toBeVisible();
  expect(screen.getByText("One.")).toBeVisible();
  await answered();

  await userEvent.type(field(), "a thought");
  const [edit] = screen.getAllByRole("button", { name: "Edit the message" });
  await userEvent.click(edit as HTMLElement);
  expect(field()).toHaveValue("First");
  expect(field()).toHaveFocus();
  await userEvent.click(button("Cancel"));
  expect(field()).toHaveValue("a thought");

  await userEvent.click(edit as HTMLElement);
  const again = streams({ texts: ["Three."] });
  await say("!");
  expect(await screen.findByText("Three.")).toBeVisible();
  await answered();
  expect(again.asked[0]).toMatchObject({ messages: [{ role: "user", content: "First!" }] });
  expect(screen.queryByText("Second")).toBeNull();
  expect(field()).toHaveValue("a thought");
});

it("keeps answer and message where the next try fails", async () => {
  streams({ texts: ["One."] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("First");
  await answered();
  refuses(503, "out_of_memory", "It needs 9 GB in system memory, where 8 GB are free. Unload another model.");
  await userEvent.click(button("Regenerate"));
  expect(await screen.findByText(/needs 9 GB in system memory, .* Unload another model\.$/)).toBeVisible();
  expect(screen.getByText("One.")).toBeVisible();
  await userEvent.click(button("Edit the message"));
  await userEvent.type(field(), " again{Enter}");
  await screen.findByText(/needs 9 GB/);
  await answered();
  expect(field()).toHaveValue("First again");
  expect(screen.getByText("One.")).toBeVisible();
  streams({ texts: ["Two."] });
  await userEvent.click(button("Try again"));
  expect(await screen.findByText("Two.")).toBeVisible();
  expect(screen.queryByText("One.")).toBeNull();
  await answered();
});

it("shows a template's refusal in its own words, and the message is back in the field", async () => {
  refuses(400, "template_failed", "System role not supported");
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("Hi there");
  expect(await screen.findByText(/System role not supported/)).toBeVisible();
  expect(field()).toHaveValue("Hi there");
  await expectAccessible();
});

it("offers a new chat where the context is full", async () => {
  streams({ texts: ["One."] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("First");
  await answered();
  refuses(400, "context_length_exceeded", "The prompt has 600 tokens; this model reads at most 512.");
  await say("Long");
  await screen.findByText(/reads at most 512/);
  await answered();
  await userEvent.click(within(screen.getByRole("alert")).getByRole("button", { name: "New chat" }));
  expect(screen.queryByText("One.")).toBeNull();
  expect(field()).toHaveValue("Long");
});

it("offers a message as a text where there is no chat after all", async () => {
  refuses(400, "invalid_request", "m1 has no chat template. Send its text to /v1/completions.");
  renderPage(<Playground model={model({ has_chat_template: null })} />);
  await userEvent.click(screen.getByRole("radio", { name: "Chat" }));
  await say("Hi there");
  expect(await screen.findByText("Chat is not available")).toBeVisible();
  expect(field()).toHaveValue("Hi there");
  const { asked } = streams({ texts: ["Yes"] });
  await userEvent.click(button("Continue it as text"));
  await waitFor(() => expect(asked[0]).toMatchObject({ prompt: "Hi there" }));
  await answered();
});

it("explains a model without a tokenizer", async () => {
  refuses(400, "no_tokenizer", "This model has no tokenizer. Import one with it.");
  renderPage(<Playground model={model()} />);
  await say("Hi");
  expect(await screen.findByText("This model has no tokenizer. Import one with it.")).toBeVisible();
  expect(screen.getByText(/can load it in Python/)).toBeVisible();
  expect(field()).toHaveValue("Hi");
});

it("says when the connection broke or the server failed in the middle, and tries again", async () => {
  streams({ texts: ["Half"], instead: "cut off" });
  renderPage(<Playground model={model()} />);
  await say("Hi");
  expect(await screen.findByText(/The connection ended before the answer did/)).toBeVisible();
  expect(screen.getByText("Half")).toBeVisible();
  streams({ texts: ["Nearly"], instead: { code: "output_not_finite", message: "The model wrote NaN. Use float32." } });
  await userEvent.click(button("Try again"));
  expect(await screen.findByText("The model wrote NaN. Use float32.")).toBeVisible();
  streams({ texts: ["Whole"] });
  await userEvent.click(button("Try again"));
  expect(await screen.findByText("Whole")).toBeVisible();
  expect(screen.queryByText("Nearly")).toBeNull();
  await answered();
});

it("keeps the conversation of a model when the page is opened again, until it is cleared", async () => {
  streams({ texts: ["One."] });
  const { unmount } = renderPage(<Playground model={model({ loaded: true })} />);
  await say("First");
  await answered();
  await userEvent.type(field(), "half a thou");
  unmount();
  usePlaygroundStore.setState({ trials: {} });
  renderPage(<Playground model={model({ loaded: true })} />);
  expect(await screen.findByText("One.")).toBeVisible();
  expect(field()).toHaveValue("half a thou");
  cleanup();
  renderPage(<Playground model={model({ id: "m2", loaded: true })} />);
  expect(screen.queryByText("One.")).toBeNull();
  cleanup();
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.click(button("New chat"));
  expect(screen.queryByText("One.")).toBeNull();
  expect(field()).toHaveFocus();
  usePlaygroundStore.setState({ trials: {} });
  cleanup();
  renderPage(<Playground model={model({ loaded: true })} />);
  expect(screen.queryByText("One.")).toBeNull();
});

const LOGPROBS: ChatLogprobs = {
  content: [" Par", "is"].map((token) => ({
    token,
    logprob: Math.log(0.75),
    bytes: [...new TextEncoder().encode(token)],
    top_logprobs: [
      { token, logprob: Math.log(0.75), bytes: null },
      { token: " Rome", logprob: Math.log(0.041), bytes: null },
    ],
  })),
};

it("shows the alternatives of a token that is pointed at or has the focus", async () => {
  const { asked } = streams({ texts: [" Paris"], logprobs: [LOGPROBS] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.click(button("Settings"));
  await userEvent.click(screen.getByRole("switch", { name: "Token probabilities" }));
  await say("Where?");
  await answered();
  expect(asked[0]).toMatchObject({ logprobs: true, top_logprobs: 5 });
  const tokens = within(screen.getByRole("listbox", { name: "Tokens" })).getAllByRole("option");
  expect(tokens.map((token) => token.textContent)).toEqual([" Par", "is"]);
  expect(tokens[0]).toHaveAccessibleName('" Par" 75.0 %; others: " Rome" 4.1 %');
  expect(screen.queryByRole("tooltip")).toBeNull();

  await userEvent.hover(tokens[0] as HTMLElement);
  expect(await screen.findByRole("tooltip")).toHaveTextContent("·Par75.0 %·Rome4.1 %");
  await userEvent.unhover(tokens[0] as HTMLElement);
  await waitFor(() => expect(screen.queryByRole("tooltip")).toBeNull());

  tokens[0]?.focus();
  expect(await screen.findByRole("tooltip")).toHaveTextContent("·Par75.0 %");
  await userEvent.keyboard("{ArrowRight}");
  expect(tokens[1]).toHaveFocus();
  await waitFor(() => expect(screen.getByRole("tooltip")).toHaveTextContent("is75.0 %·Rome4.1 %"));
  await expectAccessible();

  await userEvent.click(button("Show as text"));
  expect(screen.queryByRole("listbox")).toBeNull();
  expect(await screen.findByText("Paris")).toBeVisible();
});

it("shows the conversation as code", async () => {
  streams({ texts: ["One."] });
  renderPage(<Playground model={model({ loaded: true })} />);
  await say("It's first");
  await answered();
  await userEvent.click(button("Code"));
  expect(screen.getByRole("group", { name: "Code for curl" })).toHaveTextContent(
    /v1\/chat\/completions .*It'\\''s first/,
  );
  await userEvent.type(field(), "Second");
  await userEvent.click(screen.getByRole("radio", { name: "openai (Python)" }));
  expect(screen.getByRole("group", { name: "Code for openai" })).toHaveTextContent(/"One\.".*"Second"/);
  await userEvent.click(screen.getByRole("radio", { name: "transformers" }));
  expect(screen.getByRole("group", { name: "Code for transformers" })).toHaveTextContent(/AutoTokenizer.*"Second"/);
  await expectAccessible();
});

it("asks with the features that are clamped, until they are released", async () => {
  const { asked } = streams({ texts: ["Hello"] });
  const clamp = { saeId: "s1", saeName: "layer 14", feature: 1204, value: 18.4 };
  usePlaygroundStore.getState().setSettings("m1", { clamps: [clamp] });
  renderPage(<Playground model={model({ loaded: true })} />);
  const value = screen.getByRole("textbox", { name: "Value of feature 1204" });
  expect(screen.getByRole("link", { name: "Feature 1204" })).toHaveAttribute("href", "/training/saes/s1?feature=1204");
  await userEvent.clear(value);
  expect(button("Send")).toBeDisabled();
  await userEvent.type(value, "-3.5");
  await expectAccessible();
  await say("Hi");
  await answered();
  expect(asked[0]?.modelyard).toEqual({
    interventions: [{ op: "sae_clamp", sae_id: "s1", feature: 1204, value: -3.5, positions: "all" }],
  });
  await userEvent.click(button("Release feature 1204"));
  expect(screen.queryByRole("list", { name: "Clamped features" })).toBeNull();
  expect(usePlaygroundStore.getState().trials.m1?.settings.clamps).toEqual([]);
});
