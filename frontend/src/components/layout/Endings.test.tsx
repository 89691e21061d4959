import { act, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useLocation } from "react-router";
import { beforeEach, expect, it, vi } from "vitest";
import { turnOn } from "../../lib/browserNotifications";
import { applyList, applyModel } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { downloading, model, system } from "../../test/fixtures";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import type { Model } from "../../types/model";
import { Endings } from "./Endings";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };
const ready = (changes: Partial<Model> = {}) => model({ id: "a", model_id: "gpt2", ...changes });

beforeEach(() => useSystemStore.setState({ system: system() }));

function Address() {
  const { pathname, search } = useLocation();
  return <output>{pathname + search}</output>;
}

function show(before: Model, path = "/training") {
  useModelsStore.setState({ ...applyList(EMPTY, [before]), load: { state: "ready" } });
  renderPage(
    <>
      <Endings />
      <Address />
    </>,
    path,
  );
}

const become = (after: Model) => act(() => useModelsStore.setState((state) => applyModel(state, after)));

it("offers to load what was downloaded, and to try what was loaded", async () => {
  const asked: string[] = [];
  server.use(
    http.post(api("/models/a/load"), () => {
      asked.push("load");
      return HttpResponse.json(ready(), { status: 202 });
    }),
  );
  show(downloading({ id: "a", model_id: "gpt2" }));
  become(ready());
  expect(await screen.findByText(/^gpt2, full precision.* is ready$/)).toBeVisible();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Load" }));
  await waitFor(() => expect(asked).toEqual(["load"]));
  become(ready({ loaded: true }));
  expect(await screen.findByText(/is loaded$/)).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Try it" }));
  expect(screen.getByRole("status")).toHaveTextContent("/models/a?tab=try");
});

it("says nothing of a load that nobody asked for here", () => {
  show(ready());
  become(ready({ loaded: true }));
  expect(screen.queryByText(/is loaded$/)).toBeNull();
});

it("opens what failed, and is silent on the page of what ended", async () => {
  const error = { code: "disk_full", message: "The disk is full.", hint: null, during: null };
  show(downloading({ id: "a", model_id: "gpt2" }));
  become(ready({ status: "failed", error }));
  expect(await screen.findByText("The disk is full.")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Open" }));
  expect(screen.getByRole("status")).toHaveTextContent("/models/a");
  become(downloading({ id: "a", model_id: "gpt2" }));
  become(ready());
  expect(screen.queryByText(/is ready$/)).toBeNull();
});

it("does not offer to load where nothing can", async () => {
  useSystemStore.setState({ system: system({ extras: { torch: false, sae: false } }) });
  show(downloading({ id: "a", model_id: "gpt2" }));
  become(ready());
  expect(await screen.findByRole("button", { name: "Open" })).toBeVisible();
  expect(screen.queryByRole("button", { name: "Load" })).toBeNull();
});

it("notifies through the browser once that is turned on and the page is in the background", async () => {
  const sent: string[] = [];
  class FakeNotification {
    static permission = "default";
    static requestPermission = () => {
      FakeNotification.permission = "granted";
      return Promise.resolve("granted");
    };
    close = () => undefined;
    constructor(title: string) {
      sent.push(title);
    }
  }
  vi.stubGlobal("Notification", FakeNotification);
  vi.stubGlobal("isSecureContext", true);
  vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  show(downloading({ id: "a", model_id: "gpt2" }));
  become(ready());
  expect(sent).toEqual([]);
  expect(await turnOn()).toBe("granted");
  become(downloading({ id: "a", model_id: "gpt2" }));
  become(ready());
  expect(sent).toEqual([expect.stringMatching(/^gpt2.* is ready$/)]);
  vi.unstubAllGlobals();
});
