/**
 * The data of each server-sent event of a body, as it comes. Events are told apart by blank lines, whatever pieces the
 * network makes of them; fields other than `data` and an event cut off by the end are left out, as the format says.
 */
export async function* sseData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.map((raw) => raw.replace(/\r$/, ""))) {
        if (line !== "") {
          if (line.startsWith("data:")) data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
        } else if (data.length > 0) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    // Whoever stops listening ends the request too.
    await reader.cancel().catch(() => undefined);
  }
}
