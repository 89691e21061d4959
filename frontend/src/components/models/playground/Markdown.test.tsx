import { screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { expectAccessible, renderPage } from "../../../test/render";
import Markdown from "./Markdown";

it("formats text, lists, tables and code", async () => {
  renderPage(
    <Markdown
      text={[
        "# Title",
        "Some **bold** text with `code`.",
        "- [x] done",
        "- [ ] to do",
        "",
        "| a | b |",
        "| - | - |",
        "| 1 | 2 |",
        "",
        "```python",
        "print(1 < 2)",
        "```",
      ].join("\n")}
    />,
  );
  expect(screen.getByText("bold").tagName).toBe("STRONG");
  expect(screen.getByRole("cell", { name: "1" })).toBeVisible();
  expect(screen.getByRole("group", { name: "Code" })).toHaveTextContent("print(1 < 2)");
  expect(screen.getByRole("button", { name: "Copy code" })).toBeVisible();
  expect(screen.getByText("☑")).toBeVisible();
  // It is no heading of the page.
  expect(screen.queryByRole("heading")).toBeNull();
  await expectAccessible();
});

it("takes no HTML, fetches nothing, and links to other sites only", () => {
  const { container } = renderPage(
    <Markdown
      text={[
        '<script>alert(1)</script> <img src="https://evil.example/a.png" onerror="alert(2)">',
        "![a picture](https://evil.example/track.png)",
        "[site](https://example.com/a) [here](/settings) [js](javascript:alert(3)) [data](data:text/html,x)",
        "A note[^1].",
        "",
        "[^1]: The note.",
      ].join("\n\n")}
    />,
  );
  expect(container.querySelector("script, img, iframe, [onerror]")).toBeNull();
  expect(container).toHaveTextContent("<script>alert(1)</script>");
  const links = screen.getAllByRole("link");
  expect(links.map((link) => [link.textContent, link.getAttribute("href")])).toEqual([
    ["a picture", "https://evil.example/track.png"],
    ["site", "https://example.com/a"],
  ]);
  for (const link of links) {
    expect(link).toHaveAttribute("rel", "noopener noreferrer nofollow");
    expect(link).toHaveAttribute("target", "_blank");
  }
});
