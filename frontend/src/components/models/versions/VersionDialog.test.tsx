import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import type { VersionChange } from "../../../api/models";
import { useModelsStore } from "../../../stores/modelsStore";
import { downloading, model, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { UpdatePlan } from "../../../types/model";
import VersionDialog from "./VersionDialog";

const NEWEST = "d".repeat(40);
const PLAN: UpdatePlan = {
  commit: NEWEST,
  changed: ["template", "config", "readme"],
  fetch_bytes: 14_210,
  id: null,
  makes_copy: false,
};
const ROW = model({ update_available: true });
const COPY = model({ id: "m4", quantization: "4bit", update_available: true });

function show(change: VersionChange, plan: Partial<UpdatePlan> = {}, rows = [ROW]) {
  const asked: unknown[] = [];
  const onClose = vi.fn();
  useModelsStore.setState({
    byId: Object.fromEntries(rows.map((row) => [row.id, row])),
    ids: rows.map(({ id }) => id),
    live: {},
    pending: {},
  });
  server.use(
    http.get(api("/models/m1/:what"), ({ request }) => {
      asked.push(new URL(request.url).pathname.split("/").at(-1));
      return HttpResponse.json({ ...PLAN, ...plan });
    }),
    http.post(api("/models/:id/update"), ({ params }) => {
      asked.push(params.id);
      return HttpResponse.json(downloading({ id: `${String(params.id)}-new`, commit: NEWEST }), { status: 202 });
    }),
    http.post(api("/models/m1/rollback"), async ({ request }) => {
      asked.push(await request.json());
      return HttpResponse.json(model({ id: "m0" }), { status: 202 });
    }),
  );
  renderPage(<VersionDialog opened wish={{ model: ROW, change }} onClose={onClose} />);
  return { asked, onClose };
}

it("says what an update changes and downloads, and updates copies after what they are made of", async () => {
  const { asked, onClose } = show({ to: "newest" }, {}, [COPY, ROW]);
  expect(await screen.findByText("Changed: chat template, configuration and README")).toBeVisible();
  expect(screen.getByText("14.2 kB to download")).toBeVisible();
  expect(screen.getByRole("checkbox", { name: "Make the 4-bit copy anew, too" })).toBeChecked();
  await expectAccessible();
  await userEvent.click(screen.getByRole("button", { name: "Update" }));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
  expect(asked).toEqual(["update-plan", "m1", "m4"]);
  expect(useModelsStore.getState().byId["m1-new"]?.status).toBe("downloading");
});

it("leaves copies alone that are not wanted, and says why an update did not start", async () => {
  const { asked, onClose } = show({ to: "newest" }, { changed: [] }, [ROW, COPY]);
  expect(await screen.findByText("Only files changed that are not downloaded")).toBeVisible();
  server.use(
    http.post(api("/models/m1/update"), () => refuse(problem(507, "disk_full", "The disk is full.")), { once: true }),
  );
  await userEvent.click(screen.getByRole("checkbox"));
  await userEvent.click(screen.getByRole("button", { name: "Update" }));
  expect(await screen.findByText("The disk is full.")).toBeVisible();
  expect(onClose).not.toHaveBeenCalled();
  await userEvent.click(screen.getByRole("button", { name: "Update" }));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
  expect(asked).toEqual(["update-plan", "m1"]);
});

it("rolls back to what is on the disk at once", async () => {
  const { asked, onClose } = show({ to: "earlier", commit: "b".repeat(40) }, { id: "m0", fetch_bytes: 0 });
  expect(await screen.findByText("Nothing to download")).toBeVisible();
  expect(screen.getByText("It is on the disk and is used at once.")).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Roll back" }));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
  expect(asked).toEqual(["rollback-plan", { commit: "b".repeat(40) }]);
});

it("updates nothing that is the newest meanwhile", async () => {
  show({ to: "newest" }, { id: "m1", changed: [], fetch_bytes: 0 });
  expect(await screen.findByText("This is the newest version.")).toBeVisible();
  expect(screen.queryByRole("button", { name: "Update" })).toBeNull();
});
