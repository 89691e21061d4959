import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it, vi } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useModelsStore } from "../../../stores/modelsStore";
import { model, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import type { Model } from "../../../types/model";
import { FavouriteButton } from "./FavouriteButton";
import { LabelLines } from "./LabelLines";
import LabelsDialog from "./LabelsDialog";

const ROW = model({ id: "a", model_id: "lab/one", tags: ["baseline"], note: "" });
const OTHER = model({ id: "b", model_id: "lab/two", tags: ["layer norm", "baseline"] });

beforeEach(() => {
  useModelsStore.setState({ ...applyList({ byId: {}, ids: [], live: {}, pending: {} }, [ROW, OTHER]), conn: "live" });
});

function answers(status = 200) {
  const sent: unknown[] = [];
  server.use(
    http.patch(api("/models/a"), async ({ request }) => {
      const change = (await request.json()) as Partial<Model>;
      sent.push(change);
      return status === 200
        ? HttpResponse.json({ ...ROW, ...change })
        : refuse(problem(status, "database_unavailable", "The database is away.", { hint: null }));
    }),
  );
  return sent;
}

function Star() {
  return <FavouriteButton model={useModelsStore((state) => state.byId.a) ?? ROW} />;
}

it("marks a favourite, and says when that failed", async () => {
  const sent = answers();
  renderPage(<Star />);
  const star = screen.getByRole("button", { name: "Favourite: one" });
  expect(star).toHaveAttribute("aria-pressed", "false");
  await userEvent.click(star);
  await waitFor(() => expect(star).toHaveAttribute("aria-pressed", "true"));
  expect(sent).toEqual([{ favourite: true }]);
  await expectAccessible();
  answers(503);
  await userEvent.click(star);
  expect(await screen.findByText(/The database is away/)).toBeVisible();
  expect(star).toHaveAttribute("aria-pressed", "true");
});

it("links each tag to the models that have it, beside what is filtered already", () => {
  renderPage(<LabelLines model={{ ...ROW, note: "Use this one." }} />, "/models?status=ready");
  expect(screen.getByRole("link", { name: "baseline" })).toHaveAttribute("href", "/models?status=ready&tag=baseline");
  expect(screen.getByText("Use this one.")).toBeVisible();
});

it("adds and removes tags by keyboard, and saves them with the note", async () => {
  const sent = answers();
  const closed = vi.fn();
  renderPage(<LabelsDialog opened id="a" onClose={closed} />);
  const user = userEvent.setup();
  const field = await screen.findByRole("combobox", { name: "Tags" });
  await user.type(field, "probe,  small model {Enter}probe{Enter}");
  const list = screen.getByRole("list", { name: "Tags" });
  expect(
    within(list)
      .getAllByRole("listitem")
      .map((item) => item.textContent),
  ).toEqual(["baseline", "probe", "small model"]);
  await expectAccessible();
  await user.click(screen.getByRole("button", { name: "Remove the tag baseline" }));
  expect(field).toHaveFocus();
  await user.type(screen.getByRole("textbox", { name: "Note" }), "Good at arithmetic.");
  await user.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(closed).toHaveBeenCalled());
  expect(sent).toEqual([{ tags: ["probe", "small model"], note: "Good at arithmetic." }]);
});

it("keeps what was typed where it could not be saved", async () => {
  answers(503);
  const closed = vi.fn();
  renderPage(<LabelsDialog opened id="a" onClose={closed} />);
  const user = userEvent.setup();
  await user.type(await screen.findByRole("textbox", { name: "Note" }), "Mine");
  await user.click(screen.getByRole("button", { name: "Save" }));
  expect(await screen.findByText(/The database is away/)).toBeVisible();
  expect(screen.getByRole("textbox", { name: "Note" })).toHaveValue("Mine");
  expect(useModelsStore.getState().byId.a?.note, "taken back").toBe("");
  expect(closed).not.toHaveBeenCalled();
});

it("takes no more than twenty tags", async () => {
  const many = Array.from({ length: 19 }, (_, index) => `t${index}`);
  useModelsStore.setState((state) => ({ byId: { ...state.byId, a: { ...ROW, tags: many } } }));
  renderPage(<LabelsDialog opened id="a" onClose={vi.fn()} />);
  const field = await screen.findByRole("combobox", { name: "Tags" });
  await userEvent.type(field, "x,y,");
  expect(within(screen.getByRole("list", { name: "Tags" })).getAllByRole("listitem")).toHaveLength(20);
  expect(field).toHaveAttribute("readonly");
  expect(field).toHaveAccessibleDescription("There are 20 tags, the most there can be");
});
