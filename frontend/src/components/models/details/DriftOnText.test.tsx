import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { drift, problem } from "../../../test/fixtures";
import { api, http, HttpResponse, refuse, server } from "../../../test/handlers";
import { expectAccessible, renderPage } from "../../../test/render";
import { DriftOnText } from "./DriftOnText";

it("compares the copy with its original on the text that was written", async () => {
  const asked: unknown[] = [];
  server.use(
    http.post(api("/models/m1/drift"), async ({ request }) => {
      asked.push(await request.json());
      return HttpResponse.json(drift({ prompts: 1, tokens: 14, kl_mean: 0.31 }));
    }),
  );
  const user = userEvent.setup();
  renderPage(<DriftOnText id="m1" />);
  expect(screen.getByRole("button", { name: "Compare" })).toBeDisabled();
  await user.type(screen.getByLabelText("Text to compare on"), "It was the best of times");
  await user.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText("0.3100 nats on average, 0.2000 at most")).toBeVisible();
  expect(screen.getByRole("status")).toHaveTextContent("Compared on 14 tokens");
  expect(asked).toEqual([{ text: "It was the best of times" }]);
  await expectAccessible();
});

it("says why nothing was compared, and can be stopped", async () => {
  const user = userEvent.setup();
  server.use(
    http.post(api("/models/m1/drift"), () => refuse(problem(409, "conflict", "The original is not on the disk."))),
  );
  renderPage(<DriftOnText id="m1" />);
  await user.type(screen.getByLabelText("Text to compare on"), "It was");
  await user.click(screen.getByRole("button", { name: "Compare" }));
  expect(await screen.findByText("The original is not on the disk.")).toBeVisible();
  server.use(http.post(api("/models/m1/drift"), () => new Promise<never>(() => undefined)));
  await user.click(screen.getByRole("button", { name: "Compare" }));
  await user.click(await screen.findByRole("button", { name: "Stop" }));
  expect(await screen.findByRole("button", { name: "Compare" })).toBeEnabled();
  expect(screen.queryByText("The comparison failed")).not.toBeInTheDocument();
});
