import { render, screen } from "@testing-library/react";
import { MantineProvider } from "@mantine/core";
import { expect, it } from "vitest";
import { api, http, HttpResponse, server } from "../../test/handlers";
import { compatibility } from "../../test/trainingFixtures";
import type { TrainingCompatibility } from "../../types/training";
import { TrainingFact } from "./TrainingFact";

function show(changes: Partial<TrainingCompatibility>) {
  server.use(http.get(api("/models/m1/training-compatibility"), () => HttpResponse.json(compatibility(changes))));
  render(
    <MantineProvider>
      <TrainingFact modelId="m1" />
    </MantineProvider>,
  );
}

it("tells how sure it is that a model can be trained on", async () => {
  show({ level: "live" });
  expect(await screen.findByText("SAE training: verified by an earlier run on this model")).toBeVisible();
});

it("does not call unverified incompatible", async () => {
  show({ compatible: null, reasons: [{ code: "unverified", message: "Its code needs values." }] });
  expect(await screen.findByText(/^SAE training: it could not be verified .*\. Its code needs values\.$/)).toBeVisible();
});

it("says why a model cannot be trained on", async () => {
  show({ compatible: false, reasons: [{ code: "encoder_only", message: "This is an encoder." }], hook_points: [] });
  expect(await screen.findByText("SAE training: this model cannot be trained on. This is an encoder.")).toBeVisible();
});
