import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { useMemoryPlan } from "../../../hooks/useMemoryPlan";
import { useSystemStore } from "../../../stores/systemStore";
import { estimate, GB, option, problem, system } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { MemoryEstimate } from "../../../types/model";
import { MemoryChart } from "./MemoryChart";

beforeEach(() => useSystemStore.setState({ system: system(), loaded: [], error: null }));

function Chart({ pick }: { pick?: () => void }) {
  const plan = useMemoryPlan({ model_id: "Qwen/Qwen3-0.6B", revision: "c1899de", longest: 40_960 });
  return <MemoryChart title="Precision" plan={plan} selected="none" onPick={pick} />;
}

/** Answers like the server: activations in proportion to tokens plus a constant, so that scaling is off by a little. */
function answerFor(query: URLSearchParams): MemoryEstimate {
  const context = Number(query.get("context"));
  const batch = Number(query.get("batch"));
  const activation_bytes = 20_000_000 + context * batch * 40_000;
  const wide = query.get("dtype") === "float32";
  return estimate({
    context,
    batch,
    dtype: wide ? "float32" : "bfloat16",
    kv_cache_segments: [{ from_tokens: 0, bytes_at_from: 0, bytes_per_token: 100_000 }],
    options: [
      option({ activation_bytes, weights_bytes: wide ? 2.4 * GB : 1.2 * GB }),
      option({ quantization: "8bit", activation_bytes, weights_bytes: 0.75 * GB }),
      option({ quantization: "4bit", available: false, note: "Nothing would get smaller." }),
    ],
  });
}

function serve() {
  const asked = vi.fn();
  server.use(
    http.get(api("/models/estimate-memory"), ({ request }) => {
      const query = new URL(request.url).searchParams;
      // Asked for besides, where the answer takes its time.
      if (query.get("parts") !== "weights") {
        asked(Object.fromEntries(["context", "batch", "dtype"].map((name) => [name, query.get(name)])));
      }
      return HttpResponse.json(answerFor(query));
    }),
  );
  return asked;
}

const row = (name: RegExp) => screen.getByRole("row", { name });
/** The figures of a row, in the order of the columns. */
const figures = (name: RegExp) =>
  within(row(name))
    .getAllByRole("cell")
    .map((cell) => cell.textContent);
const total = async (words: string) => expect(await screen.findByRole("cell", { name: words })).toBeVisible();
const slider = (name: string) => screen.getByRole("slider", { name });

it("gives every option a row with its parts, where it fits and, on demand, how far", async () => {
  const user = userEvent.setup();
  serve();
  renderPage(<Chart pick={() => undefined} />);
  await total("1.51 GB");
  expect(screen.getByText(/^Exact: /)).toBeVisible();
  expect(figures(/^Full precision/)).toEqual(["", "1.20 GB", "205 MB", "102 MB", "1.51 GB", "fits18.5 GB left", ""]);
  expect(figures(/^8-bit/).slice(1, 5)).toEqual(["750 MB", "205 MB", "102 MB", "1.06 GB"]);
  expect(screen.getByRole("list", { name: "Legend" })).toHaveTextContent(
    "weightsKV cacheactivationspeak while loadingSystem memory: 20.0 GB free of 25.0 GB",
  );
  expect(screen.queryByText(/Longest context/)).toBeNull();
  await user.click(screen.getByRole("button", { name: "Details of 8-bit" }));
  expect(screen.getByText("Longest context: 40,960 tokens (its limit)")).toBeVisible();
  expect(screen.getByRole("radio", { name: /4-bit/ })).toBeDisabled();
  expect(screen.getByText("Nothing would get smaller.")).toBeVisible();
  await expectAccessible();
});

it("takes a click anywhere in a row for its choice, but not one on its details", async () => {
  const user = userEvent.setup();
  serve();
  const pick = vi.fn();
  renderPage(<Chart pick={pick} />);
  await total("1.51 GB");
  await user.click(screen.getByRole("button", { name: "Details of 8-bit" }));
  expect(pick).not.toHaveBeenCalled();
  await user.click(screen.getByRole("cell", { name: "750 MB" }));
  expect(pick).toHaveBeenCalledWith("8bit");
  await user.click(screen.getByText("Nothing would get smaller."));
  expect(pick).toHaveBeenCalledTimes(1);
});

it("redraws at once from the keyboard, in proportion first, and asks only for what it has not been told", async () => {
  const user = userEvent.setup();
  const asked = serve();
  renderPage(<Chart />);
  await total("1.51 GB");
  expect(slider("Context")).toHaveAttribute("aria-valuetext", "2,048 tokens");
  slider("Context").focus();
  await user.keyboard("{ArrowRight}{ArrowRight}");
  expect(slider("Context")).toHaveAttribute("aria-valuetext", "4,096 tokens");
  expect(asked).toHaveBeenCalledTimes(1);
  // 1.2 GB + 4096 * 100 kB + twice the 101.92 MB that were told for half the tokens.
  expect(figures(/^Full precision/).slice(3, 5)).toEqual(["≈ 204 MB", "≈ 1.81 GB"]);
  await total("1.79 GB");
  expect(asked).toHaveBeenLastCalledWith({ context: "4096", batch: "1", dtype: "auto" });
  expect(asked).toHaveBeenCalledTimes(2);

  await user.keyboard("{ArrowLeft}{ArrowLeft}");
  await total("1.51 GB");
  await user.click(slider("Batch"));
  slider("Batch").focus();
  await user.keyboard("{End}");
  expect(slider("Batch")).toHaveAttribute("aria-valuetext", "64 sequences");
  // 64 * 204.8 MB of cache beside the weights, and the verdict goes with it.
  expect(screen.getAllByRole("cell", { name: "13.1 GB" })).toHaveLength(2);
  expect(figures(/^Full precision/)[5]).toMatch(/^does not fit.* short$/);
  await waitFor(() => expect(asked).toHaveBeenCalledTimes(3));
});

it("asks again for another dtype", async () => {
  const user = userEvent.setup();
  const asked = serve();
  renderPage(<Chart />);
  await total("1.51 GB");
  await user.selectOptions(screen.getByRole("combobox", { name: "Load in" }), "float32");
  await total("2.71 GB");
  expect(asked).toHaveBeenLastCalledWith({ context: "2048", batch: "1", dtype: "float32" });
  await user.selectOptions(screen.getByRole("combobox", { name: "Load in" }), "auto");
  await total("1.51 GB");
});

it("never prints what is unknown as nothing", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(
        estimate({
          method: "approximate",
          method_reason: "the weights are quantized already (gptq)",
          kv_cache_segments: [],
          options: [
            option({
              kv_cache_bytes: null,
              activation_bytes: null,
              total_is_lower_bound: true,
              verdicts: [{ device: "cpu", verdict: "unknown", free_bytes: 20 * GB, total_bytes: 25 * GB }],
            }),
            option({ quantization: "8bit", weights_bytes: null, total_bytes: null }),
          ],
        }),
      ),
    ),
  );
  renderPage(<Chart />);
  await total("≥ 1.20 GB");
  expect(figures(/^Full precision/)).toEqual([
    "",
    "≈ 1.20 GB",
    "unknown",
    "unknown",
    "≥ 1.20 GB",
    "unknownat most 18.5 GB left",
    "",
  ]);
  expect(figures(/^8-bit/).slice(1, 6)).toEqual(["unknown", "unknown", "≈ 100 MB", "unknown", "unknown"]);
  expect(screen.queryByText(/fits/)).toBeNull();
  expect(
    screen.getByText(
      "Approximate (≈): the weights are quantized already (gptq). Not in the totals, because unknown: KV cache, activations.",
    ),
  ).toBeVisible();
  // Another answer would be the same.
  expect(screen.queryByRole("button", { name: "Retry" })).toBeNull();
  expect(screen.queryByText(/Longest context/)).toBeNull();
});

it("says what the exact weights leave out, and believes the server that the rest fits", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(
        estimate({
          method_reason: "the activations are not known: No answer within 9 s",
          may_improve: true,
          options: [option({ activation_bytes: null, total_is_lower_bound: true })],
        }),
      ),
    ),
  );
  renderPage(<Chart />);
  await total("≥ 1.40 GB");
  expect(figures(/^Full precision/)[5]).toBe("fitsat most 18.5 GB left");
  expect(screen.queryByText(/^Exact: /)).toBeNull();
  expect(
    screen.getByText(
      /^The weights are exact: .* The activations are not known: No answer within 9 s\. Retrying the rest/,
    ),
  ).toBeVisible();
  expect(screen.getByRole("button", { name: "Retry" })).toBeVisible();
});

it("shows the weights first where the whole takes its time", async () => {
  let answer: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => (answer = resolve));
  server.use(
    http.get(api("/models/estimate-memory"), async ({ request }) => {
      const query = new URL(request.url).searchParams;
      if (query.get("parts") === "weights")
        return HttpResponse.json(
          estimate({
            kv_cache_segments: [],
            options: [option({ kv_cache_bytes: null, activation_bytes: null, total_is_lower_bound: true })],
          }),
        );
      await waiting;
      return HttpResponse.json(answerFor(query));
    }),
  );
  renderPage(<Chart />);
  await total("≥ 1.20 GB");
  expect(figures(/^Full precision/).slice(1, 6)).toEqual([
    "1.20 GB",
    "…",
    "…",
    "≥ 1.20 GB",
    "fitsat most 18.5 GB left",
  ]);
  expect(screen.getByText(/Computing the KV cache and the activations…$/)).toBeVisible();
  answer();
  await total("1.51 GB");
  expect(screen.getByText(/^Exact: /)).toBeVisible();
});

it("asks for the whole alone where that is there at once", async () => {
  const parts: (string | null)[] = [];
  server.use(
    http.get(api("/models/estimate-memory"), ({ request }) => {
      parts.push(new URL(request.url).searchParams.get("parts"));
      return HttpResponse.json(estimate());
    }),
  );
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"], shouldAdvanceTime: false });
  try {
    renderPage(<Chart />);
    await vi.waitFor(() => expect(screen.getByRole("cell", { name: "1.50 GB" })).toBeVisible(), { timeout: 5000 });
    vi.advanceTimersByTime(1000);
  } finally {
    vi.useRealTimers();
  }
  expect(parts).toEqual(["all"]);
});

it("counts the peak while loading", async () => {
  server.use(
    http.get(api("/models/estimate-memory"), () =>
      HttpResponse.json(estimate({ options: [option({ load_peak_bytes: 19 * GB })] })),
    ),
  );
  renderPage(<Chart />);
  await total("1.50 GB");
  expect(figures(/^Full precision/)[5]).toBe("tight1.00 GB left");
  expect(screen.getByText("peak while loading")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Details of Full precision" }));
  expect(screen.getByText("Peak while loading 19.0 GB")).toBeVisible();
});

it("says what is going on while the exact answer takes its time, and what stood in its way", async () => {
  const user = userEvent.setup();
  let answer: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => (answer = resolve));
  server.use(
    http.get(
      api("/models/estimate-memory"),
      async () => {
        await waiting;
        return refuse(problem(502, "hub_unreachable", "Name or service not known."));
      },
      { once: true },
    ),
  );
  renderPage(<Chart />);
  expect(await screen.findByText("Building the model without its weights…", {}, { timeout: 3000 })).toBeVisible();
  answer();
  const alert = await screen.findByRole("alert");
  expect(within(alert).getByText(/Name or service not known/)).toBeVisible();
  expect(screen.queryByRole("slider")).toBeNull();
  await user.click(within(alert).getByRole("button", { name: "Try again" }));
  await total("1.50 GB");
});

it("shows one accelerator of many, and system memory", async () => {
  const gpu = (index: number, free: number) => ({
    id: `cuda:${index}`,
    name: "GPU",
    total_bytes: 24 * GB,
    free_bytes: free * GB,
    used_by_us_bytes: 0,
  });
  useSystemStore.setState({
    system: system({ devices: [gpu(0, 3), gpu(1, 20), gpu(2, 5), ...system().devices] }),
  });
  serve();
  renderPage(<Chart />);
  expect(await screen.findByText(/GPU 1: 20.0 GB free of 24.0 GB/)).toBeVisible();
  expect(screen.getByText("Of 3 GPUs, the one with the most free memory is shown.")).toBeVisible();
  expect(screen.queryByText(/GPU 0/)).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Details of 8-bit" }));
  expect(screen.getByText(/^Fits in GPU 1, 18.5 GB left; longest context: 40,960 tokens/)).toBeVisible();
});
