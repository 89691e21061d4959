import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { useModelsStore } from "../../../stores/modelsStore";
import { downloading } from "../../../test/fixtures";
import { api, http, HttpResponse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { CachedModels } from "./CachedModels";

const cached = {
  commit: "607a30d783dfa663caf39e06633721c8d4cfcd7e",
  revisions: ["main"],
  size_bytes: 550_989_000,
  problem: null,
};

beforeEach(() => useModelsStore.setState({ byId: {}, ids: [], live: {}, pending: {} }));

it("adds what other tools downloaded, and completes what is not whole", async () => {
  let asked: unknown = null;
  let items = [
    { ...cached, model_id: "openai-community/gpt2", importable: true },
    { ...cached, model_id: "half/one", importable: false, problem: "model.safetensors is missing" as string | null },
  ];
  server.use(
    http.get(api("/models/cache"), () => HttpResponse.json({ items, leftovers: [] })),
    http.post(api("/models/import"), async ({ request }) => {
      asked = await request.json();
      items = items.slice(1);
      return HttpResponse.json(downloading({ id: "m5", model_id: "openai-community/gpt2", status: "pending" }), {
        status: 202,
      });
    }),
  );
  renderPage(<CachedModels />);
  expect(await screen.findByText("551 MB · main · model.safetensors is missing")).toBeVisible();
  expect(screen.getByRole("link", { name: "Complete half/one" })).toHaveAttribute(
    "href",
    "/models?download=half%2Fone",
  );
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Add openai-community/gpt2" }));
  await screen.findByText("Adding gpt2");
  expect(asked).toEqual({ cached: "openai-community/gpt2" });
  expect(useModelsStore.getState().ids).toEqual(["m5"]);
  expect(screen.queryByRole("button", { name: /^Add/ })).toBeNull();
});

it("says how much unfinished downloads hold, and frees it", async () => {
  let leftovers = [{ model_id: "a/b", path: "/c/x.part", size_bytes: 402_653_184, age_seconds: 86_400 }];
  server.use(
    http.get(api("/models/cache"), () => HttpResponse.json({ items: [], leftovers })),
    http.delete(api("/models/cache/leftovers"), () => {
      leftovers = [];
      return HttpResponse.json({ freed_bytes: 402_653_184 });
    }),
  );
  renderPage(<CachedModels explain />);
  expect(await screen.findByText(/1 unfinished file that no download uses, 403 MB/)).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Remove" }));
  expect(await screen.findByText("403 MB freed.")).toBeVisible();
  expect(await screen.findByText(/All models in the cache are listed already/)).toBeVisible();
});
