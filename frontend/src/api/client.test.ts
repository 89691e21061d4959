import { delay } from "msw";
import { expect, it, vi } from "vitest";
import { api, http, HttpResponse, server } from "../test/handlers";
import { request, setUnauthorizedHandler } from "./client";
import { isAbort } from "../lib/apiError";

it("does not wait for ever for an answer", async () => {
  vi.spyOn(AbortSignal, "timeout").mockImplementation(() => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new DOMException("It took too long.", "TimeoutError")), 20);
    return controller.signal;
  });
  server.use(http.get(api("/settings"), () => delay("infinite")));
  await expect(request("GET", "/settings")).rejects.toMatchObject({
    code: "server_unreachable",
    detail: "The Modelyard server has not answered for too long.",
  });
});

it("lets whoever asked give up", async () => {
  server.use(http.get(api("/settings"), () => delay("infinite")));
  const controller = new AbortController();
  const asked = request("GET", "/settings", { signal: controller.signal });
  controller.abort();
  await expect(asked).rejects.toSatisfy(isAbort);
});

it("reads errors of OpenAI's API, and asks for the key there too", async () => {
  const unauthorized = vi.fn();
  setUnauthorizedHandler(unauthorized);
  const error = {
    message: "This server needs its key.",
    type: "authentication_error",
    code: "unauthorized",
    param: null,
  };
  server.use(http.post("*/v1/completions", () => HttpResponse.json({ error }, { status: 401 })));
  await expect(request("POST", "/completions", { root: "v1", body: {} })).rejects.toMatchObject({
    status: 401,
    code: "unauthorized",
    detail: "This server needs its key.",
    hint: null,
  });
  expect(unauthorized).toHaveBeenCalledOnce();
});
