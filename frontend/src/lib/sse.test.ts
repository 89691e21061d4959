import { expect, it, vi } from "vitest";
import { sseData } from "./sse";

function body(...pieces: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces)
        controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
      controller.close();
    },
  });
}

async function all(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const found: string[] = [];
  for await (const data of sseData(stream)) found.push(data);
  return found;
}

it("puts events together from any pieces", async () => {
  expect(await all(body("da", 'ta: {"a":1}\n', "\ndata: b\n\nda", "ta: c\n", "\n"))).toEqual(['{"a":1}', "b", "c"]);
});

it("keeps letters whole that were cut between pieces", async () => {
  const bytes = new TextEncoder().encode("data: é漢🙂\n\n");
  expect(await all(body(...[...bytes].map((byte) => new Uint8Array([byte]))))).toEqual(["é漢🙂"]);
});

it("takes CRLF, several data lines and no space, and leaves out comments and other fields", async () => {
  expect(await all(body(": ping\r\n\r\nevent: x\r\nid: 1\r\ndata:one\r\ndata:  two\r\n\r\n"))).toEqual(["one\n two"]);
});

it("leaves out an event that the end cut off", async () => {
  expect(await all(body("data: whole\n\ndata: half"))).toEqual(["whole"]);
});

it("ends at once when it is told to stop, also while nothing comes", async () => {
  const cancel = vi.fn();
  const controller = new AbortController();
  const reading = sseData(new ReadableStream<Uint8Array>({ cancel }), controller.signal).next();
  controller.abort();
  await expect(reading).rejects.toMatchObject({ name: "AbortError" });
  expect(cancel).toHaveBeenCalled();
});

it("ends the request when nobody listens any more", async () => {
  const cancel = vi.fn();
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
    cancel,
  });
  for await (const data of sseData(stream)) {
    expect(data).toBe("1");
    break;
  }
  expect(cancel).toHaveBeenCalled();
});
