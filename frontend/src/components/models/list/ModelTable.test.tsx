import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../../stores/applyEvents";
import { useListViewStore } from "../../../stores/listViewStore";
import { useModelsStore } from "../../../stores/modelsStore";
import { useSystemStore } from "../../../stores/systemStore";
import { DEFAULT_COLUMNS } from "../../../lib/columns";
import { downloading, model, system } from "../../../test/fixtures";
import { expectAccessible, renderPage } from "../../../test/render";
import type { Model } from "../../../types/model";
import { ModelsPanel } from "../../panels/ModelsPanel";

beforeEach(() => {
  localStorage.clear();
  useListViewStore.setState({ layout: null, columns: DEFAULT_COLUMNS });
  useSystemStore.setState({ system: system(), loaded: [], error: null });
});

const many = (count: number) =>
  Array.from({ length: count }, (_, index) =>
    model({
      id: `m${index}`,
      model_id: `lab/model-${index}`,
      num_parameters: 1_000_000 * (index + 1),
      created_at: `2026-01-${String(index + 1).padStart(2, "0")}T00:00:00.000Z`,
    }),
  );

function show(models: Model[]) {
  useModelsStore.setState({
    ...applyList({ byId: {}, ids: [], live: {}, pending: {} }, models),
    load: { state: "ready" },
  });
  renderPage(<ModelsPanel />);
}

const names = () =>
  screen
    .getAllByRole("row")
    .slice(1)
    .map((row) => within(row).getAllByRole("link")[0]?.textContent);

it("lists thirteen models and more in a table, and fewer as cards", async () => {
  show(many(12));
  expect(screen.queryByRole("table")).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Show a table" }));
  expect(screen.getByRole("table", { name: "Models" })).toHaveAttribute("aria-rowcount", "13");
  await expectAccessible();
});

it("remembers cards where there are many", async () => {
  show(many(13));
  expect(screen.getByRole("table", { name: "Models" })).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Show cards" }));
  expect(screen.queryByRole("table")).toBeNull();
  expect(JSON.parse(localStorage.getItem("modelyard.list") ?? "{}")).toMatchObject({ layout: "cards" });
});

it("sorts by a column, and the other way round the next time", async () => {
  useListViewStore.setState({ layout: "table" });
  show(many(3));
  expect(names()).toEqual(["model-2", "model-1", "model-0"]);
  const header = (name: string) => screen.getByRole("columnheader", { name });
  await userEvent.click(within(header("Name")).getByRole("button"));
  expect(header("Name")).toHaveAttribute("aria-sort", "ascending");
  expect(names()).toEqual(["model-0", "model-1", "model-2"]);
  await userEvent.click(within(header("Name")).getByRole("button"));
  expect(header("Name")).toHaveAttribute("aria-sort", "descending");
  await userEvent.click(within(header("Parameters")).getByRole("button"));
  expect(header("Parameters")).toHaveAttribute("aria-sort", "descending");
  expect(header("Name")).toHaveAttribute("aria-sort", "none");
  expect(names()).toEqual(["model-2", "model-1", "model-0"]);
});

it("shows the columns that are chosen, and remembers them", async () => {
  useListViewStore.setState({ layout: "table" });
  show([model({ used_by: [{ kind: "training", id: "t", name: "training lens" }] })]);
  expect(screen.queryByRole("columnheader", { name: "Used by" })).toBeNull();
  await userEvent.click(screen.getByRole("button", { name: "Columns" }));
  const dialog = await screen.findByRole("dialog", { name: "Columns" });
  await userEvent.click(within(dialog).getByRole("checkbox", { name: "Used by" }));
  await userEvent.click(within(dialog).getByRole("checkbox", { name: "Disk" }));
  expect(screen.getByText("training lens")).toBeVisible();
  expect(screen.queryByRole("columnheader", { name: "Disk" })).toBeNull();
  const { columns } = JSON.parse(localStorage.getItem("modelyard.list") ?? "{}") as { columns: string[] };
  expect(columns).toEqual(["parameters", "precisions", "memory", "state", "used", "tags"]);
});

it("says of all variants what they need, take and do", () => {
  useListViewStore.setState({ layout: "table" });
  show([
    model({ id: "a", disk_bytes: 1_000_000_000 }),
    model({
      id: "b",
      quantization: "4bit",
      disk_bytes: 1_500_000_000,
      shared_bytes: 1_000_000_000,
      memory_estimated_bytes: 5e8,
    }),
    downloading({ id: "c", model_id: "lab/coming" }),
  ]);
  const rows = screen.getAllByRole("row");
  expect(rows).toHaveLength(3);
  const both = within(screen.getByRole("row", { name: /Qwen3-0.6B/ }));
  expect(both.getByRole("link", { name: "4-bit" })).toHaveAttribute("href", "/models/b");
  expect(both.getByText("500 MB +")).toBeVisible();
  expect(both.getByText("1.50 GB")).toBeVisible();
  expect(both.getByText("Ready")).toBeVisible();
  expect(screen.getByText(/^Downloading\s+25 %$/)).toBeVisible();
});

it("moves between rows with the arrow keys, and chooses several", async () => {
  useListViewStore.setState({ layout: "table" });
  show(many(3));
  const link = (name: string) => screen.getByRole("link", { name });
  link("model-2").focus();
  await userEvent.keyboard("{ArrowDown}");
  expect(link("model-1")).toHaveFocus();
  await userEvent.click(screen.getByRole("button", { name: "Select" }));
  await userEvent.click(screen.getByRole("checkbox", { name: "Select model-0" }));
  expect(screen.getByText("1 selected")).toBeVisible();
});
