import { cleanup, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useModelsStore } from "../../../stores/modelsStore";
import { usePlaygroundStore } from "../../../stores/playgroundStore";
import { downloading, liveOf, model, outOfRoom, problem, progress } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { GenerateRequest } from "../../../types/model";
import Playground from "./Playground";

beforeEach(() => usePlaygroundStore.setState({ trials: {} }));

const DONE = {
  done: true,
  text: "",
  new_tokens: 3,
  tokens_per_second: 41.5,
  load_seconds: 0.8,
  finish_reason: "length",
};

const field = () => screen.getByRole("textbox", { name: /^(Text to continue|Message)$/ });

/** Answers in pieces; without an end it hangs until it is stopped. */
function answers(events: object[], { ends = true } = {}) {
  const asked: GenerateRequest[] = [];
  let aborted = false;
  server.use(
    http.post(api("/models/m1/generate"), async ({ request }) => {
      asked.push((await request.json()) as GenerateRequest);
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

it("says why a model without a language head cannot be tried", () => {
  renderPage(<Playground model={model({ architecture: "BertModel", generates_text: false })} />);
  expect(screen.getByText("This model can't generate text")).toBeVisible();
  expect(screen.getByText(/BertModel has no language head/)).toBeVisible();
  expect(screen.queryByRole("button", { name: "Generate" })).toBeNull();
});

it("continues a text, with figures at the end; Ctrl+Enter sends", async () => {
  const { asked } = answers([{ delta: " Par" }, { delta: "is." }, DONE]);
  renderPage(<Playground model={model()} />);
  expect(screen.getByText("The model is loaded first: 1.19 GB of weights.")).toBeVisible();
  expect(screen.getByRole("button", { name: "Generate" })).toBeDisabled();
  expect(screen.getByText("Enter a text to continue")).toBeVisible();
  await userEvent.type(screen.getByRole("textbox", { name: "Text to continue" }), "The capital of France is");
  await userEvent.keyboard("{Control>}{Enter}{/Control}");
  expect(await screen.findByText("Paris.")).toBeVisible();
  expect(
    await screen.findByText("3 tokens · 41.5 tokens/s · loaded in 0.80 s · stopped at the token limit"),
  ).toBeVisible();
  expect(asked).toEqual([
    { prompt: "The capital of France is", max_new_tokens: 64, temperature: 0, seed: 0, stream: true },
  ]);
  expect(screen.getByRole("textbox", { name: "Text to continue" })).toHaveValue("The capital of France is");
  await expectAccessible();
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
  await userEvent.click(screen.getByRole("button", { name: "Resume Qwen3-0.6B" }));
  await waitFor(() => expect(resumed).toBe(1));
  cleanup();
  renderPage(<Playground model={outOfRoom()} />);
  expect(screen.getByText("Status: paused: disk full.")).toBeVisible();
  expect(screen.queryByRole("button")).toBeNull();
  useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} });
});

it("sends nothing to a server that is away", async () => {
  const { asked } = answers([DONE]);
  useModelsStore.setState({ conn: "stale" });
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.type(field(), "So");
  expect(screen.getByRole("button", { name: "Generate" })).toBeDisabled();
  await userEvent.keyboard("{Control>}{Enter}{/Control}");
  expect(asked).toEqual([]);
  useModelsStore.setState({ conn: "connecting" });
});

it("says what loading it took the last time", () => {
  renderPage(<Playground model={model({ memory_measured_bytes: 1_300_000_000 })} />);
  expect(screen.getByText("The model is loaded first: 1.30 GB measured.")).toBeVisible();
});

it("stops, ends the request, and keeps what came", async () => {
  const { wasAborted } = answers([{ delta: " endless" }], { ends: false });
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.type(field(), "So");
  await userEvent.click(screen.getByRole("button", { name: "Generate" }));
  expect(await screen.findByText("endless")).toBeVisible();
  expect(screen.queryByText("Ctrl")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Stop" }));
  expect(await screen.findByText("Stopped")).toBeVisible();
  await waitFor(() => expect(wasAborted()).toBe(true));
  expect(screen.getByText("endless")).toBeVisible();
  expect(screen.getByRole("button", { name: "Generate" })).toBeEnabled();
});

it("chats with what was said before", async () => {
  const { asked } = answers([{ delta: "Hello." }, DONE]);
  renderPage(<Playground model={model({ loaded: true })} />);
  await userEvent.click(screen.getByRole("radio", { name: "Chat" }));
  for (const said of ["Hi", "And?"]) {
    await userEvent.type(screen.getByRole("textbox", { name: "Message" }), said);
    await userEvent.click(screen.getByRole("button", { name: "Send" }));
    await screen.findByRole("button", { name: "Send" });
    await waitFor(() => expect(screen.getByRole("textbox", { name: "Message" })).toHaveValue(""));
  }
  await waitFor(() => expect(asked).toHaveLength(2));
  expect(asked[1]?.messages).toEqual([
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Hello." },
    { role: "user", content: "And?" },
  ]);
});

it("offers no chat where the tokenizer has no template", async () => {
  renderPage(<Playground model={model({ has_chat_template: false })} />);
  expect(screen.getByRole("radio", { name: "Chat" })).toBeDisabled();
  expect(screen.getByText("Chat is not available: the tokenizer has no chat template.")).toBeVisible();
  await expectAccessible();
});

it("says what the load before the first token does", async () => {
  const loading = progress({ phase: "loading", message: "waiting for another load" });
  useModelsStore.setState({ live: { m1: liveOf(model({ progress: loading })) } });
  answers([], { ends: false });
  renderPage(<Playground model={model()} />);
  await userEvent.type(field(), "The capital");
  await userEvent.click(screen.getByRole("button", { name: "Generate" }));
  expect(await screen.findByText("Loading: waiting for another load")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Stop" }));
  useModelsStore.setState({ live: {} });
});

it("gives a message back that could not be answered, and offers it as a text where there is no chat", async () => {
  const { asked } = answers([
    {
      done: true,
      error: { code: "invalid_request", message: "The tokenizer has no chat template.", hint: "Use prompt." },
    },
  ]);
  renderPage(<Playground model={model({ has_chat_template: null })} />);
  await userEvent.click(screen.getByRole("radio", { name: "Chat" }));
  await userEvent.type(field(), "Hi there");
  await userEvent.click(screen.getByRole("button", { name: "Send" }));
  expect(await screen.findByText("The tokenizer has no chat template. Use prompt.")).toBeVisible();
  expect(screen.getByRole("textbox", { name: "Message" })).toHaveValue("Hi there");
  await userEvent.click(screen.getByRole("button", { name: "Continue it as text" }));
  await waitFor(() => expect(asked.at(-1)?.prompt).toBe("Hi there"));
});

it("explains a model without a tokenizer", async () => {
  server.use(
    http.post(api("/models/m1/generate"), () =>
      refuse(problem(422, "no_tokenizer", "This model has no tokenizer.", { hint: "Import one with it." })),
    ),
  );
  renderPage(<Playground model={model()} />);
  await userEvent.type(field(), "Hi");
  await userEvent.click(screen.getByRole("button", { name: "Generate" }));
  expect(await screen.findByText("This model has no tokenizer. Import one with it.")).toBeVisible();
  expect(screen.getByText(/can load it in Python/)).toBeVisible();
  expect(field()).toHaveValue("Hi");
});

it("says when the connection broke, and tries again with what is still there", async () => {
  answers([{ delta: "Half" }]);
  renderPage(<Playground model={model()} />);
  await userEvent.type(field(), "Hi");
  await userEvent.click(screen.getByRole("button", { name: "Generate" }));
  expect(await screen.findByText(/The connection ended before the answer did/)).toBeVisible();
  expect(screen.getByText("Half")).toBeVisible();
  answers([{ delta: "Whole" }, DONE]);
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByText("Whole")).toBeVisible();
});
