import { cleanup } from "@testing-library/react";
import { expect, it } from "vitest";
import { liveOf, model, progress, system } from "../../test/fixtures";
import { renderPage } from "../../test/render";
import { useModelsStore } from "../../stores/modelsStore";
import type { Model, Progress } from "../../types/model";
import { ModelCard } from "./ModelCard";

const PHASES: Progress["phase"][] = [
  "resolving",
  "downloading",
  "verifying",
  "retrying",
  "converting",
  "merging",
  "quantizing",
  "checking",
  "loading",
];
const STATUSES: Model["status"][] = ["pending", "downloading", "quantizing", "paused", "failed", "ready"];

/** What the server says today, and what it has said before: none of it may mean anything to the page. */
const MESSAGES = ["waiting for a worker", "stopping", "layer 3 of 12"];

function htmlOf(row: Model): string {
  useModelsStore.setState({ live: { m1: liveOf(row) }, pending: {} });
  const group = { key: row.model_id, head: row, variants: [row] };
  const { container } = renderPage(
    <ModelCard
      group={group}
      devices={system().devices}
      search=""
      onAction={() => undefined}
      onPoint={() => undefined}
    />,
  );
  const html = container.innerHTML;
  cleanup();
  // Identifiers count up from one drawing to the next.
  return html.replaceAll(/(mantine-|_r_)[\w-]+/g, "");
}

/** The page's own labels may say the same as a message: all of them are masked, and the first letter's case with them. */
function masked(html: string): string {
  return html.replaceAll(new RegExp(MESSAGES.join("|"), "gi"), "§");
}

const CASES = STATUSES.flatMap((status) => PHASES.map((phase) => ({ status, phase })));

it.each(CASES)("reads nothing from a message while a model is $status and $phase", ({ status, phase }) => {
  for (const flags of [{}, { waiting: true, stopping: true }]) {
    const drawn = MESSAGES.map((message) => {
      const row = model({
        status,
        progress: progress({ phase, ...flags, message }),
        error: status === "failed" ? { code: "internal_error", message, hint: message, during: null } : null,
      });
      return masked(htmlOf(row));
    });
    expect(new Set(drawn).size, JSON.stringify(flags)).toBe(1);
  }
});
