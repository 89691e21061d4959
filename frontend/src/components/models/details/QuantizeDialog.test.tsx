import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { useSystemStore } from "../../../stores/systemStore";
import { estimate, model, option, problem, system } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { QuantizeDialog } from "./QuantizeDialog";

function show() {
  useSystemStore.setState({ system: system(), loaded: [], error: null });
  const asked: unknown[] = [];
  const onClose = vi.fn();
  server.use(
    http.post(api("/models/m1/quantize"), async ({ request }) => {
      asked.push(await request.json());
      return HttpResponse.json(model({ id: "m2", status: "quantizing", quantization: "4bit" }), { status: 202 });
    }),
  );
  renderPage(<QuantizeDialog wish={{ model: model(), quantization: "4bit" }} onClose={onClose} />);
  return { asked, onClose };
}

it("tells the bytes of each precision and asks for the chosen one", async () => {
  const { asked, onClose } = show();
  expect(await screen.findByText("500 MB in memory instead of 1.20 GB")).toBeVisible();
  expect(screen.getByText("500 MB more on the disk")).toBeVisible();
  const radio = screen.getByRole("radio", { name: "4-bit" });
  expect(radio).toBeChecked();
  expect(radio).toHaveAccessibleDescription(/^fits 500 MB in memory/);
  await expectAccessible();
  await userEvent.click(screen.getByRole("checkbox", { name: "Keep the original files" }));
  expect(screen.getByText(/Frees 1.50 GB/)).toBeVisible();
  await userEvent.click(screen.getByRole("button", { name: "Quantize to 4-bit" }));
  await waitFor(() => expect(onClose).toHaveBeenCalled());
  expect(asked).toEqual([{ quantization: "4bit", keep_original: false }]);
});

it("offers nothing that makes no sense, and says why", async () => {
  const none = { available: false, note: "The weights are quantized already (gptq)." };
  server.use(
    http.get(api("/models/m1/estimate-memory"), () =>
      HttpResponse.json(estimate({ options: [option(), option({ quantization: "4bit", ...none })] })),
    ),
  );
  show();
  expect(await screen.findByText("The weights are quantized already (gptq).")).toBeVisible();
  expect(screen.getByRole("button", { name: "Quantize to 4-bit" })).toBeDisabled();
});

it("stays open and says why it was refused", async () => {
  const { onClose } = show();
  server.use(
    http.post(api("/models/m1/quantize"), () => refuse(problem(409, "already_exists", "It is here in 4-bit."))),
  );
  await userEvent.click(screen.getByRole("button", { name: "Quantize to 4-bit" }));
  expect(await screen.findByText(/It is here in 4-bit/)).toBeVisible();
  expect(onClose).not.toHaveBeenCalled();
});
