import { execFileSync } from "node:child_process";
import { expect, type Locator, test } from "@playwright/test";
import { expectAccessible, open, overflow, readySample, watch } from "./helpers";

const LLAMA = "modelyard-samples/tiny-llama";

/** Runs a program as a user would paste it. */
function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf-8", timeout: 120_000 });
}

test("a chat, its tokens, and the same in code", async ({ page, request }) => {
  test.setTimeout(300_000);
  const id = await readySample(request, LLAMA);
  const seen = watch(page);
  await open(page, `/models/${id}?tab=try`);
  const details = page.getByRole("main");
  const field = details.getByRole("textbox", { name: "Message" });
  const chat = details.getByRole("region", { name: "Chat with tiny-llama" });
  const ended = (where: Locator) =>
    expect(where.getByRole("status")).toHaveText(
      /^\d+ tokens · .*first token after .* · (finished|token limit reached)$/,
      {
        timeout: 60_000,
      },
    );
  /** What the page keeps of the answer, before it is formatted. */
  const answer = (mode: "chat" | "text") =>
    page.evaluate(
      ([row, kind]) => {
        const saved = JSON.parse(localStorage.getItem(`modelyard.try.${row}`) ?? "{}") as {
          turns: Record<string, { answer: string }[]>;
        };
        return saved.turns[kind]?.at(-1)?.answer ?? "";
      },
      [id, mode] as const,
    );

  await test.step("a question by keyboard alone", async () => {
    await details.getByRole("button", { name: "Settings" }).click();
    await details.getByRole("textbox", { name: "Temperature" }).fill("0");
    await details.getByRole("textbox", { name: "Max tokens" }).fill("24");
    await field.focus();
    await page.keyboard.type("Hello,");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("it's me");
    await page.keyboard.press("Enter");
    await ended(chat);
    await expect(chat).toContainText("it's me");
    await expect(field).toBeFocused();
    await expect(field).toHaveValue("");
    expect(await answer("chat")).not.toBe("");
    await expectAccessible(page);
  });

  const code = async (form: string) => {
    await details.getByText(form, { exact: true }).click();
    return (await details.getByRole("group", { name: /^Code for/ }).textContent()) ?? "";
  };

  await test.step("the same in code, which runs", async () => {
    await details.getByRole("button", { name: "Code", exact: true }).click();
    const curl = JSON.parse(run("bash", "-c", await code("curl"))) as {
      choices: { message: { content: string } }[];
    };
    expect(curl.choices[0]?.message.content).toBe(await answer("chat"));
    expect(run("python", "-c", await code("openai (Python)"))).toBe(`${await answer("chat")}\n`);
    await expectAccessible(page);
  });

  await test.step("tokens with their alternatives", async () => {
    await details.getByRole("button", { name: "Settings" }).click();
    await details.getByRole("switch", { name: "Token probabilities" }).check();
    await details.getByRole("button", { name: "Regenerate" }).click();
    const tokens = details.getByRole("listbox", { name: "Tokens" }).getByRole("option");
    await expect(tokens.nth(1)).toBeVisible();
    await ended(chat);
    await tokens.first().focus();
    await page.keyboard.press("ArrowRight");
    await expect(tokens.nth(1)).toBeFocused();
    await expect(page.getByRole("tooltip").getByRole("table").first().getByRole("row")).toHaveCount(5);
    await expectAccessible(page, { popup: true });
    await page.mouse.move(0, 0);
    await field.focus();
    await expect(page.getByRole("tooltip")).toHaveCount(0);
    await tokens.nth(2).hover();
    await expect(page.getByRole("tooltip").getByRole("table").first().getByRole("row")).toHaveCount(5);
  });

  await test.step("kept when the page is opened again, edited, cleared", async () => {
    await page.reload();
    await expect(chat).toContainText("it's me");
    await details.getByRole("button", { name: "Edit the message" }).click();
    await expect(field).toHaveValue("Hello,\nit's me");
    await field.fill("Who are you?");
    await field.press("Enter");
    await expect(chat).not.toContainText("it's me");
    await ended(chat);
    await page.setViewportSize({ width: 360, height: 740 });
    expect(await overflow(page)).toBe(0);
    await expect(field).toBeInViewport();
    await details.getByRole("button", { name: "New chat" }).click();
    await expect(chat).toHaveCount(0);
  });

  await test.step("a text, and the same in code", async () => {
    await details.getByText("Continue a text", { exact: true }).click();
    await details.getByRole("textbox", { name: "Text to continue" }).fill("The capital of France is");
    await details.getByRole("button", { name: "Generate" }).click();
    await ended(details.getByRole("region", { name: "Text from tiny-llama" }));
    await details.getByRole("button", { name: "Code", exact: true }).click();
    const curl = JSON.parse(run("bash", "-c", await code("curl"))) as { choices: { text: string }[] };
    expect(curl.choices[0]?.text).toBe(await answer("text"));
  });
  expect(seen.errors).toEqual([]);
});
