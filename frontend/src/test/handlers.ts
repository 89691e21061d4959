import { http, HttpResponse } from "msw";
import { setupServer } from "msw/node";
import type { Model, Problem } from "../types/model";
import * as fixtures from "./fixtures";
import { compatibility } from "./trainingFixtures";

const api = (path: string) => `*/api/v1${path}`;

/** An answer in the server's own error format. */
export function refuse(problem: Problem) {
  return HttpResponse.json(problem, {
    status: problem.status,
    headers: { "Content-Type": "application/problem+json" },
  });
}

export function page(models: Model[]) {
  return { items: models, total: models.length, limit: 200, offset: 0 };
}

/** A reachable Hub, one machine, no models; tests replace what they are about. */
export const handlers = [
  http.get(api("/models"), () => HttpResponse.json(page([]))),
  http.get(api("/models/cache"), () => HttpResponse.json({ items: [], leftovers: [] })),
  http.get(api("/models/search"), () => HttpResponse.json({ items: [], next_cursor: null })),
  http.get(api("/models/card"), () => HttpResponse.json({ html: "", text: "", truncated: false })),
  http.get(api("/models/info/*"), () => HttpResponse.json(fixtures.info())),
  http.get(api("/models/estimate-memory"), () => HttpResponse.json(fixtures.estimate())),
  http.get(api("/models/:id/estimate-memory"), () => HttpResponse.json(fixtures.estimate())),
  http.get(api("/models/:id/card"), () => HttpResponse.json({ html: "", text: "", truncated: false })),
  http.get(api("/models/:id/history"), () => HttpResponse.json({ items: [], total: 0, limit: 50, offset: 0 })),
  http.get(api("/bundles"), () => HttpResponse.json({ items: [], total: 0, limit: 50, offset: 0 })),
  http.get(api("/saes"), () => HttpResponse.json({ items: [], total: 0, limit: 200, offset: 0 })),
  http.get(api("/datasets"), () => HttpResponse.json({ items: [] })),
  http.get(api("/models/:id/training-compatibility"), () => HttpResponse.json(compatibility())),
  http.get(api("/models/loaded"), () => HttpResponse.json({ items: [] })),
  http.get(api("/system"), () => HttpResponse.json(fixtures.system())),
  http.get(api("/settings"), () => HttpResponse.json(fixtures.settings())),
];

export const server = setupServer(...handlers);
export { api, http, HttpResponse };
