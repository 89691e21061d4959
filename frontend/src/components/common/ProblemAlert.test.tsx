import { screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { renderPage } from "../../test/render";
import { ProblemAlert } from "./ProblemAlert";

const LOCKED = { code: "internal_error", message: "The database is locked.", hint: "Try again." };

it("leaves out a hint that its button repeats", () => {
  renderPage(
    <ProblemAlert title="The models could not be read" problem={LOCKED}>
      <button>Try again</button>
    </ProblemAlert>,
  );
  expect(screen.getByText("The database is locked.")).toBeVisible();
  expect(screen.queryByText(/Try again\./)).toBeNull();
});

it("links the server's own page about the code, unless no server answers", () => {
  const { unmount } = renderPage(<ProblemAlert title="The models could not be read" problem={LOCKED} />);
  expect(screen.getByRole("link", { name: "More about this error" })).toHaveAttribute(
    "href",
    "docs/errors#internal_error",
  );
  unmount();
  renderPage(<ProblemAlert title="No connection" problem={{ ...LOCKED, code: "server_unreachable" }} />);
  expect(screen.queryByRole("link")).toBeNull();
});

it("keeps it where there is no button", () => {
  renderPage(<ProblemAlert title="The models could not be read" problem={LOCKED} />);
  expect(screen.getByText("The database is locked. Try again.")).toBeVisible();
});
