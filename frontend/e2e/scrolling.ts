/**
 * The browser's part of `benchmarks/ui.py`: opens the page and scrolls it as told on standard input, one JSON command
 * a line, and answers each with one line. Seconds and bytes.
 */
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import { type BrowserContext, type CDPSession, chromium, type Page, type Request } from "@playwright/test";

type Command = { do: "load"; layout: "cards" | "table" } | { do: "scroll"; seconds: number };

/** What the page counts about itself, from before its first script. */
interface Counts {
  longTasks: number[];
  messages: number;
  draws: number;
}

declare global {
  interface Window {
    counts: Counts;
  }
}

const PIXELS_PER_SECOND = 1500;

const [url = "", models = ""] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
let context: BrowserContext | undefined;
let page: Page | undefined;
let devtools: CDPSession | undefined;

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  console.log(JSON.stringify(command.do === "load" ? await load(command.layout) : await scroll(command.seconds)));
}
await browser.close();

/** Opens the page with an empty cache and waits until all models are listed. */
async function load(layout: "cards" | "table") {
  await context?.close();
  context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  page = await context.newPage();
  await page.addInitScript(count);
  await page.addInitScript(
    (chosen) => localStorage.setItem("modelyard.list", JSON.stringify({ layout: chosen })),
    layout,
  );
  const scripts: { sent: number; gzipped: number }[] = [];
  const arriving: Promise<unknown>[] = [];
  const note = (request: Request) => {
    if (request.resourceType() !== "script") return;
    const measured = async () => {
      const [response, sizes] = await Promise.all([request.response(), request.sizes()]);
      const body = (await response?.body()) ?? Buffer.alloc(0);
      scripts.push({ sent: sizes.responseBodySize, gzipped: gzipSync(body, { level: 9 }).length });
    };
    arriving.push(measured());
  };
  page.on("requestfinished", note);
  const started = Date.now();
  await page.goto(url);
  await page.locator("[data-card-index]").first().waitFor();
  const firstCards = (Date.now() - started) / 1000;
  await page.getByText(`${models} models`, { exact: true }).waitFor({ timeout: 60_000 });
  const allModels = (Date.now() - started) / 1000;
  // What comes later is none of the load's, and would be read when its page is closed.
  page.off("requestfinished", note);
  await Promise.all(arriving);
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN);
  const { longTasks } = await page.evaluate(() => window.counts);
  devtools = await context.newCDPSession(page);
  await devtools.send("HeapProfiler.collectGarbage");
  const heap = await devtools.send("Runtime.getHeapUsage");
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  return {
    first_paint: paint / 1000,
    first_cards: firstCards,
    all_models: allModels,
    script_bytes: scripts.reduce((sum, script) => sum + script.gzipped, 0),
    script_bytes_sent: scripts.reduce((sum, script) => sum + script.sent, 0),
    longest_task: Math.max(0, ...longTasks) / 1000,
    heap_bytes: heap.usedSize,
  };
}

/** Up and down the newest rows; a frame is counted where the page had its turn to draw. */
async function scroll(seconds: number) {
  if (page === undefined || devtools === undefined) throw new Error("Load the page first.");
  const before = await busySeconds(devtools);
  const measured = await page.evaluate(
    async ({ seconds, speed }) => {
      window.counts.longTasks = [];
      const { messages, draws } = window.counts;
      const started = performance.now();
      let frames = 0;
      let now = started;
      while (now - started < seconds * 1000) {
        now = await new Promise<number>(requestAnimationFrame);
        frames += 1;
        const share = (now - started) / (seconds * 1000);
        window.scrollTo(0, speed * seconds * Math.min(share, 1 - share));
      }
      const took = (now - started) / 1000;
      // A long task is reported once it has ended.
      await new Promise((resolve) => setTimeout(resolve, 200));
      return {
        frames_per_second: frames / took,
        messages_per_second: (window.counts.messages - messages) / took,
        draws_per_second: (window.counts.draws - draws) / took,
        longest_task: Math.max(0, ...window.counts.longTasks) / 1000,
      };
    },
    { seconds, speed: PIXELS_PER_SECOND },
  );
  return { ...measured, busy: ((await busySeconds(devtools)) - before) / seconds };
}

/** Processor time of the page's main thread so far. */
async function busySeconds(session: CDPSession): Promise<number> {
  const { metrics } = await session.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN;
}

/** Runs in the page before its own scripts. */
function count(): void {
  const counts: Counts = { longTasks: [], messages: 0, draws: 0 };
  window.counts = counts;
  new PerformanceObserver((list) => {
    counts.longTasks.push(...list.getEntries().map((entry) => entry.duration));
  }).observe({ type: "longtask", buffered: true });
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...where: ConstructorParameters<typeof Plain>) {
      super(...where);
      this.addEventListener("message", () => (counts.messages += 1));
    }
  };
  new MutationObserver((changes) => {
    counts.draws += changes.length;
  }).observe(document, { subtree: true, attributeFilter: ["aria-valuetext"] });
}
