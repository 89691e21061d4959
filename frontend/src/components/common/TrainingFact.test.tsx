import { MantineProvider } from "@mantine/core";
import { render, screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { compatibility } from "../../test/trainingFixtures";
import type { TrainingCompatibility } from "../../types/training";
import { TrainingFact } from "./TrainingFact";

function show(changes: Partial<TrainingCompatibility>) {
  render(
    <MantineProvider>
      <TrainingFact training={compatibility(changes)} />
    </MantineProvider>,
  );
}

it("tells how sure it is that a model can be trained on", () => {
  show({ level: "live" });
  expect(screen.getByText("Ready for SAE training, as an earlier run has shown")).toBeVisible();
});

it("does not call unverified incompatible", () => {
  show({ compatible: null, reasons: [{ code: "unverified", message: "Its code needs values." }] });
  expect(screen.getByText(/^Not verified for SAE training\. Its code needs values\.$/)).toBeVisible();
});

it("says why a model cannot be trained on", () => {
  show({ compatible: false, reasons: [{ code: "encoder_only", message: "This is an encoder." }], hook_points: [] });
  expect(screen.getByText("SAE training is not possible. This is an encoder.")).toBeVisible();
});
