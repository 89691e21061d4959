import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { model, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { ImportFolder } from "./ImportFolder";

const folder = () => screen.getByRole("textbox", { name: "Folder" });
const name = () => screen.getByRole("textbox", { name: "Name" });
const submit = () => screen.getByRole("button", { name: "Import" });

it("imports a folder under the name it suggests", async () => {
  const user = userEvent.setup();
  const body = vi.fn();
  const onAdded = vi.fn();
  server.use(
    http.post(api("/models/import"), async ({ request }) => {
      body(await request.json());
      return HttpResponse.json(model({ status: "pending" }), { status: 202 });
    }),
  );
  renderPage(<ImportFolder onAdded={onAdded} />);
  expect(submit()).toBeDisabled();
  expect(screen.getByText("Enter a folder path.")).toBeVisible();
  await user.type(folder(), "/data/My model (v2)/");
  expect(name()).toHaveValue("local/My-model-v2");
  await user.click(screen.getByRole("radio", { name: "Copying" }));
  await expectAccessible();
  await user.click(submit());
  await vi.waitFor(() => expect(onAdded).toHaveBeenCalled());
  expect(body).toHaveBeenCalledWith({ path: "/data/My model (v2)/", model_id: "local/My-model-v2", mode: "copy" });
});

it("says beside the field what is wrong with it", async () => {
  const user = userEvent.setup();
  renderPage(<ImportFolder />);
  await user.type(folder(), "models/mine");
  await user.clear(name());
  await user.type(name(), "not a name");
  await user.click(submit());
  expect(screen.getByText("Enter an absolute path such as /data/my-model.")).toBeVisible();
  expect(screen.getByText("Enter a name such as local/my-model.")).toBeVisible();
});

it("shows what the server says, and the model that has the name already", async () => {
  const user = userEvent.setup();
  server.use(
    http.post(api("/models/import"), () =>
      refuse(problem(409, "already_exists", "It is here (ready).", { id: "m42" })),
    ),
  );
  renderPage(<ImportFolder />);
  await user.type(folder(), "/data/mine");
  await user.click(submit());
  expect(await screen.findByText(/It is here \(ready\)/)).toBeVisible();
  expect(screen.getByRole("link", { name: "Show it" })).toHaveAttribute("href", "/models/m42");
});
