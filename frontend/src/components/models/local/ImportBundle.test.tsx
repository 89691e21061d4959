import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { bundle, bundleProgress } from "../../../test/bundleFixtures";
import { problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { Bundle } from "../../../types/bundle";
import { ImportBundle } from "./ImportBundle";

function list(items: Bundle[]) {
  server.use(http.get(api("/bundles"), () => HttpResponse.json({ items, total: items.length, limit: 50, offset: 0 })));
}

const path = () => screen.getByRole("textbox", { name: "Bundle" });
const submit = () => screen.getByRole("button", { name: "Import the bundle" });

it("imports a bundle by its path and shows how far it is", async () => {
  const user = userEvent.setup();
  const asked: unknown[] = [];
  const running = bundle({
    kind: "import",
    status: "running",
    progress: bundleProgress({ phase: "reading" }),
    parts: [],
  });
  list([]);
  server.use(
    http.post(api("/bundles/import"), async ({ request }) => {
      asked.push(await request.json());
      list([running]);
      return HttpResponse.json(running, { status: 202 });
    }),
    http.get(api("/bundles/b1"), () => HttpResponse.json(running)),
    http.post(api("/bundles/b1/pause"), () => HttpResponse.json({ ...running, status: "paused" })),
  );
  renderPage(<ImportBundle />);
  expect(submit()).toBeDisabled();
  await user.type(path(), "/media/usb/qwen.tar");
  await user.click(submit());
  expect(await screen.findByText("Reading and verifying")).toBeVisible();
  expect(asked).toEqual([{ path: "/media/usb/qwen.tar" }]);
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Pause" }));
  expect(await screen.findByRole("button", { name: "Resume" })).toBeVisible();
});

it("names the file that is damaged", async () => {
  const error = { code: "invalid_bundle", message: "model.safetensors of a/b is damaged.", hint: "Copy it again." };
  list([bundle({ kind: "import", status: "failed", error, parts: [] })]);
  renderPage(<ImportBundle />);
  expect(await screen.findByText(/model.safetensors of a\/b is damaged/)).toBeVisible();
});

it("says why a file is refused", async () => {
  list([]);
  server.use(http.post(api("/bundles/import"), () => refuse(problem(422, "invalid_bundle", "It is no bundle."))));
  renderPage(<ImportBundle />);
  await userEvent.type(path(), "/x");
  await userEvent.click(submit());
  expect(await screen.findByText(/It is no bundle/)).toBeVisible();
});
