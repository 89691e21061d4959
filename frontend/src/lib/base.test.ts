import { expect, it } from "vitest";
import { eventsUrl } from "../api/socket";
import { BASE, basename } from "./base";

it.each([
  ["http://127.0.0.1:8000/", "/", "ws://127.0.0.1:8000/api/v1/events?batch=true"],
  ["https://models.example.org/", "/", "wss://models.example.org/api/v1/events?batch=true"],
  ["https://lab.example.org/tools/yard/", "/tools/yard", "wss://lab.example.org/tools/yard/api/v1/events?batch=true"],
])("takes the router's and the socket's address from %s", (base, router, socket) => {
  expect(basename(new URL(base))).toBe(router);
  expect(eventsUrl(new URL(base))).toBe(socket);
});

it("is the document's base", () => {
  expect(BASE.href).toBe(new URL(".", document.baseURI).href);
});
