import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useLocation } from "react-router";
import { beforeEach, expect, it } from "vitest";
import { applyList } from "../../stores/applyEvents";
import { useModelsStore } from "../../stores/modelsStore";
import { usePaletteStore } from "../../stores/paletteStore";
import { useSystemStore } from "../../stores/systemStore";
import { model, system } from "../../test/fixtures";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { expectAccessible, renderPage } from "../../test/render";
import { Keys } from "./Keys";

const EMPTY = { byId: {}, ids: [], live: {}, pending: {} };

beforeEach(() => {
  useSystemStore.setState({ system: system() });
  usePaletteStore.setState({ opened: false });
  useModelsStore.setState(applyList(EMPTY, [model({ id: "a", model_id: "gpt2" }), model({ id: "b" })]));
});

function Address() {
  const { pathname, search, hash } = useLocation();
  return <output>{pathname + search + hash}</output>;
}

function show() {
  renderPage(
    <>
      <input aria-label="A field" />
      <Keys />
      <Address />
    </>,
  );
  return userEvent.setup();
}

const field = () => screen.findByRole("textbox", { name: /^Search models/ });

it("opens from a field as well, finds a model by its name and goes there", async () => {
  const user = show();
  await user.click(screen.getByLabelText("A field"));
  await user.keyboard("{Control>}k{/Control}");
  expect(await field()).toHaveFocus();
  await expectAccessible();
  await user.keyboard("gpt2");
  expect(within(await screen.findByRole("listbox")).getAllByRole("option")[0]).toHaveTextContent(/^gpt2/);
  await user.keyboard("{Enter}");
  await waitFor(() => expect(screen.getByRole("status")).toHaveTextContent("/models/a"));
  expect(screen.queryByRole("dialog")).toBeNull();
});

it("leads to a setting, and by the arrows to what comes after the first", async () => {
  const user = show();
  await user.keyboard("{Control>}k{/Control}");
  await field();
  await user.keyboard("setting storage{Enter}");
  await waitFor(() => expect(screen.getByRole("status")).toHaveTextContent("/settings#storage"));
  await user.keyboard("{Control>}k{/Control}");
  await user.clear(await field());
  await user.keyboard("{ArrowDown}{Enter}");
  await waitFor(() => expect(screen.getByRole("status")).toHaveTextContent("/models?view=hub"));
});

it("loads a model, unless nothing here can", async () => {
  const asked: string[] = [];
  server.use(
    http.post(api("/models/:id/load"), ({ params }) => {
      asked.push(String(params.id));
      return HttpResponse.json(model({ id: "a", model_id: "gpt2" }), { status: 202 });
    }),
  );
  const user = show();
  await user.keyboard("{Control>}k{/Control}");
  await field();
  await user.keyboard("load gpt2{Enter}");
  await waitFor(() => expect(asked).toEqual(["a"]));
  act(() => useSystemStore.setState({ system: system({ extras: { torch: false, sae: false } }) }));
  await user.keyboard("{Control>}k{/Control}");
  await user.type(await field(), "load gpt2");
  expect(await screen.findByText("Nothing has this name.")).toBeVisible();
});

it("lists the keys", async () => {
  const user = show();
  await user.keyboard("?");
  const dialog = await screen.findByRole("dialog", { name: "Keyboard" });
  expect(within(dialog).getByText("Show these keys")).toBeVisible();
  await expectAccessible();
  await user.keyboard("{Escape}");
  await waitFor(() => expect(dialog).not.toBeInTheDocument());
  await user.type(screen.getByLabelText("A field"), "?");
  expect(screen.queryByRole("dialog")).toBeNull();
});
