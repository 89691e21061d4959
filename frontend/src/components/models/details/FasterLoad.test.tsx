import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import { useModelsStore } from "../../../stores/modelsStore";
import { estimate, model } from "../../../test/fixtures";
import { api, http, HttpResponse, server } from "../../../test/handlers";
import { renderPage } from "../../../test/render";
import type { MemoryEstimate } from "../../../types/model";
import { FasterLoad } from "./FasterLoad";

function faster(): MemoryEstimate {
  const found = estimate();
  return {
    ...found,
    fast_dtype: { dtype: "float32", prefill_speedup: 12 },
    options: found.options.map((option) => ({ ...option, fast_dtype_bytes: 269_030_272 })),
  };
}

beforeEach(() => useModelsStore.setState({ byId: { m1: model() }, ids: ["m1"], pending: {} }));

it("loads in the faster dtype with one click", async () => {
  const asked: unknown[] = [];
  server.use(
    http.post(api("/models/m1/load"), async ({ request }) => {
      asked.push(await request.json());
      return HttpResponse.json(model());
    }),
  );
  renderPage(<FasterLoad model={model()} estimate={faster()} busy={false} />);
  expect(screen.getByText("float32 here: 12 × faster prefill, +269 MB")).toBeVisible();
  await userEvent.setup().click(screen.getByRole("button", { name: "Load in float32" }));
  expect(asked).toEqual([{ dtype: "float32" }]);
});

it("says nothing where the processor is as fast as stored, and no more than that once it is loaded so", () => {
  const { unmount } = renderPage(<FasterLoad model={model()} estimate={estimate()} busy={false} />);
  expect(screen.queryByRole("button")).not.toBeInTheDocument();
  unmount();
  const use = { kind: "loaded" as const, id: "w", name: "loaded in float32", dtype: "float32", measured_bytes: 1 };
  renderPage(<FasterLoad model={model({ used_by: [use] })} estimate={faster()} busy={false} />);
  expect(screen.getByRole("button", { name: "Loaded in float32" })).toBeDisabled();
});
