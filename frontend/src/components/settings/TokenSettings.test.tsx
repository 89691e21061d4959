import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { settings } from "../../test/fixtures";
import { expectAccessible, renderPage } from "../../test/render";
import { TokenSettings } from "./TokenSettings";

it.each(["Save the token", "Test the token"])("says what '%s' needs, where it is typed", async (name) => {
  const user = userEvent.setup();
  renderPage(<TokenSettings settings={settings()} onSaved={vi.fn()} />, "/settings");
  await user.click(screen.getByRole("button", { name }));
  const field = screen.getByLabelText("Token");
  expect(field).toHaveFocus();
  expect(field).toHaveAccessibleDescription(/Paste a token first/);
  await expectAccessible();
  await user.type(field, "hf_");
  expect(screen.queryByText("Paste a token first")).toBeNull();
});

it("says for which Hub no token is stored", async () => {
  const note = "No token is saved for https://hub.example.org. A token is sent only to the Hub it was stored for.";
  const view = settings({ endpoint: "https://hub.example.org/mirror", endpoint_source: "settings", token_note: note });
  renderPage(<TokenSettings settings={view} onSaved={vi.fn()} />, "/settings");
  expect(screen.getByRole("status")).toHaveTextContent(note);
  expect(screen.getByLabelText("Token")).toHaveAccessibleDescription(/on https:\/\/hub\.example\.org\/mirror/);
  expect(screen.queryByRole("button", { name: "Remove the token" })).toBeNull();
  await expectAccessible();
});
