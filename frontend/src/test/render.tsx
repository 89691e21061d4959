import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { render } from "@testing-library/react";
import axe from "axe-core";
import { MemoryRouter } from "react-router";
import { expect } from "vitest";
import { cssVariables, theme } from "../theme";

export function renderPage(element: React.ReactElement, path = "/models") {
  return render(
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} env="test">
      <Notifications />
      <MemoryRouter initialEntries={[path]}>{element}</MemoryRouter>
    </MantineProvider>,
  );
}

/** Structure only: jsdom paints nothing, so contrast is checked in a real browser. */
export async function expectAccessible(element: Element = document.body): Promise<void> {
  const result = await axe.run(element, {
    rules: { "color-contrast": { enabled: false }, region: { enabled: false } },
  });
  expect(result.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`)).toEqual([]);
}
