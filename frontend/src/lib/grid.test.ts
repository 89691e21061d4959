import { globSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

/** Its distances are those of the slider's thumb. */
const APART = ["SteppedSlider.module.css", "docs.css"];

it("keeps distances on a grid of four pixels", () => {
  const files = globSync("src/**/*.css").filter((path) => !APART.some((name) => path.endsWith(name)));
  expect(files.length).toBeGreaterThan(30);
  const off = files.flatMap((path) =>
    [...readFileSync(path, "utf8").matchAll(/^\s*(?:padding|margin|gap|row-gap|column-gap)[a-z-]*: [^;]*/gm)]
      .map(([declaration]) => declaration.trim())
      .filter((declaration) => [...declaration.matchAll(/\b(\d+)px/g)].some(([, px]) => isOff(Number(px))))
      .map((declaration) => `${path}: ${declaration}`),
  );
  expect(off).toEqual([]);
});

/** Hairlines may be closer. */
function isOff(pixels: number): boolean {
  return pixels > 2 && pixels % 4 !== 0;
}
