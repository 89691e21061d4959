import "@testing-library/jest-dom/vitest";
import { notifications } from "@mantine/notifications";
import { act, cleanup, configure } from "@testing-library/react";
import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";
import { server } from "./handlers";

// Parts of the page are fetched on first use, which takes a second on a busy machine.
configure({ asyncUtilTimeout: 5_000 });

// What Mantine and the virtual grid ask of a browser and jsdom does not have.
vi.stubGlobal("matchMedia", (query: string) => ({
  matches: false,
  media: query,
  addEventListener: () => undefined,
  removeEventListener: () => undefined,
  addListener: () => undefined,
  removeListener: () => undefined,
}));
vi.stubGlobal(
  "ResizeObserver",
  class {
    observe = () => undefined;
    unobserve = () => undefined;
    disconnect = () => undefined;
  },
);
Element.prototype.scrollIntoView = () => undefined;
Object.defineProperty(document, "fonts", {
  configurable: true,
  value: { addEventListener: () => undefined, removeEventListener: () => undefined },
});

beforeAll(() => server.listen({ onUnhandledFrame: "error" }));
beforeEach(() => localStorage.clear());
afterEach(() => {
  act(() => notifications.clean());
  cleanup();
  server.resetHandlers();
});
// The next file has the same document and libraries, but stores and mocks of its own.
afterAll(() => {
  server.close();
  vi.unstubAllGlobals();
  vi.resetModules();
});
