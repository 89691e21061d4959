import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { ApiError } from "../../../lib/apiError";
import { architecture } from "../../../test/fixtures";
import { expectAccessible, renderPage } from "../../../test/render";
import type { Architecture } from "../../../types/model";
import ArchitectureView from "./ArchitectureView";

async function show(changes: Partial<Architecture> = {}) {
  renderPage(
    <ArchitectureView
      about="one"
      load={() => Promise.resolve(architecture(changes))}
      source={{ name: "Qwen/Qwen3-0.6B", revision: null }}
    />,
  );
  await screen.findByRole("tree");
}

const item = (name: RegExp) => screen.getByRole("treeitem", { name });

it("tells what a model is made of", async () => {
  await show();
  expect(screen.getByRole("button", { name: "lm_head.weight, copy path" })).toBeVisible();
  expect(screen.getByRole("button", { name: "model.embed_tokens.weight, copy path" })).toBeVisible();
  expect(screen.queryByRole("button", { name: "tied weights" })).toBeNull();
  expect(screen.getByText(/by a forward pass without weights/)).toHaveTextContent(/^Verified by a forward pass/);
  expect(screen.getAllByText("unknown")).not.toHaveLength(0);
  await expectAccessible();
});

it("does not say of a norm it has not found that there is none", async () => {
  await show({ final_norm: null });
  expect(screen.getByText("Final norm").closest("div")).toHaveTextContent("Final normunknown");
});

it("explains a peculiarity to who points at it or tabs to it", async () => {
  const user = userEvent.setup();
  await show({ flags: ["hybrid"] });
  await user.hover(screen.getByRole("button", { name: "hybrid" }));
  expect(await screen.findByText(/The blocks are not all alike/)).toBeInTheDocument();
});

it("says why nothing was verified", async () => {
  await show({ verified: false, reason: "Blocks run more than once in a forward pass." });
  expect(screen.getByText(/Blocks run more than once/)).toHaveTextContent(/^Unverified: Blocks/);
});

it("names the problem when there is no architecture to show", async () => {
  const user = userEvent.setup();
  let calls = 0;
  renderPage(
    <ArchitectureView
      about="one"
      load={() => {
        calls += 1;
        return calls === 1
          ? Promise.reject(new ApiError({ status: 422, code: "needs_custom_code", detail: "It needs its own code." }))
          : Promise.resolve(architecture());
      }}
      source={{ name: "x/y", revision: null }}
    />,
  );
  expect(await screen.findByText(/It needs its own code/)).toBeVisible();
  await user.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("tree")).toBeVisible();
});

it("opens and walks the tree with the keyboard and copies a path", async () => {
  const user = userEvent.setup();
  await show();
  expect(screen.getAllByRole("treeitem")).toHaveLength(5);
  expect(item(/^layers ModuleList/)).toHaveAttribute("aria-expanded", "false");
  item(/^Qwen3ForCausalLM/).focus();
  await user.keyboard("{ArrowDown}{ArrowDown}{ArrowDown}");
  expect(item(/^layers/)).toHaveFocus();
  await user.keyboard("{ArrowRight}{ArrowRight}{ArrowRight}{ArrowRight}");
  expect(item(/^self_attn/)).toHaveFocus();
  expect(item(/^self_attn/)).toHaveAttribute("aria-level", "5");
  expect(item(/^self_attn Qwen3Attention attention 200 parameters/)).toHaveAttribute("aria-expanded", "false");
  await user.keyboard("{Enter}");
  expect(await navigator.clipboard.readText()).toBe("model.layers.0.self_attn");
  expect(screen.getByText("model.layers.0.self_attn copied")).toBeVisible();
  await user.keyboard("{ArrowLeft}");
  expect(item(/^0 Qwen3DecoderLayer/)).toHaveFocus();
  await user.keyboard("{ArrowLeft}");
  expect(screen.queryByRole("treeitem", { name: /^self_attn/ })).toBeNull();
  await user.keyboard("{End}");
  expect(item(/^norm/)).toHaveFocus();
  await user.keyboard("{Home}");
  expect(item(/^Qwen3ForCausalLM/)).toHaveFocus();
  // One stop for the tab key, however many rows.
  expect(screen.getAllByRole("treeitem").filter((row) => row.tabIndex === 0)).toHaveLength(1);
  await expectAccessible();
});

it("finds modules by path or type", async () => {
  const user = userEvent.setup();
  await show();
  const search = screen.getByRole("textbox", { name: "Search modules" });
  await user.type(search, "linear layers.1");
  expect(screen.getAllByRole("treeitem").map((row) => row.getAttribute("data-path"))).toEqual([
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.self_attn.o_proj",
  ]);
  expect(screen.getByText("2 modules found")).toBeVisible();
  await user.clear(search);
  await user.type(search, "conv");
  expect(screen.getByText("No module has “conv” in its path or type.")).toBeVisible();
  await user.click(screen.getByRole("button", { name: "Clear the search" }));
  expect(screen.getAllByRole("treeitem")).toHaveLength(5);
});

it("filters hook points and gives the code for each library", async () => {
  const user = userEvent.setup();
  await show();
  const table = () => within(screen.getByRole("table"));
  expect(table().getAllByRole("button", { name: /^Code for/ })).toHaveLength(2);
  await user.selectOptions(screen.getByRole("combobox", { name: "Kind of hook point" }), "attention (2)");
  await user.selectOptions(screen.getByRole("combobox", { name: "Layer" }), "Layer 1");
  expect(screen.getByText("1 hook point")).toBeVisible();
  expect(table().getByText("first of the tuple")).toBeVisible();

  await user.click(table().getByRole("button", { name: "Code for model.layers.1.self_attn" }));
  expect(screen.getByLabelText("transformers code")).toHaveTextContent("output[0] if isinstance(output, tuple)");
  await user.click(screen.getByRole("button", { name: "Copy code" }));
  expect(await navigator.clipboard.readText()).toContain('model.get_submodule("model.layers.1.self_attn")');
  await user.click(screen.getByRole("radio", { name: "TransformerLens" }));
  expect(screen.getByText(/TransformerLens has no name for this point/)).toBeVisible();
  await user.click(screen.getByRole("radio", { name: "SAELens" }));
  expect(screen.getByLabelText("SAELens code")).toHaveTextContent("d_in=1024");
  await expectAccessible();
});

it("says once what all hook points have in common, and has no column for it", async () => {
  const user = userEvent.setup();
  await show();
  expect(screen.getByText("All: residual stream, tensor (batch, seq, 1024), verified.")).toBeVisible();
  const columns = () => screen.getAllByRole("columnheader").map((column) => column.textContent);
  expect(columns()).toEqual(["Layer", "Module path", "Code"]);
  await user.selectOptions(screen.getByRole("combobox", { name: "Kind of hook point" }), "Every kind (4)");
  expect(screen.queryByText(/^All: /)).toBeNull();
  expect(columns()).toEqual(["Layer", "Kind", "Module path", "Output", "Code"]);
});

it("leads on where a filter leaves nothing", async () => {
  const user = userEvent.setup();
  const points = architecture().hook_points.filter((point) => point.kind === "residual" || point.layer === 0);
  await show({ hook_points: points });
  await user.selectOptions(screen.getByRole("combobox", { name: "Kind of hook point" }), "attention (1)");
  await user.selectOptions(screen.getByRole("combobox", { name: "Layer" }), "Layer 1");
  expect(screen.getByText("Layer 1 has no hook point of this kind.")).toBeVisible();
  await user.click(screen.getByRole("button", { name: "Show all" }));
  expect(screen.getByText("3 hook points")).toBeVisible();
});
