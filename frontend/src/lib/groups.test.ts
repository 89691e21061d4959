import { expect, it } from "vitest";
import { adapter, model } from "../test/fixtures";
import { diskOf, groupModels, variantLabel, variantName } from "./groups";

const FULL = model({ id: "m1", disk_bytes: 8_190_000 });
const EIGHT = model({ id: "m8", quantization: "8bit", disk_bytes: 15_000_000, shared_bytes: 8_190_000 });
const FOUR = model({ id: "m4", quantization: "4bit", disk_bytes: 14_050_000, shared_bytes: 8_190_000 });
const GGUF = model({
  id: "g",
  converted_from: "Q4_K_M",
  gguf_file: "q4.gguf",
  commit: "e".repeat(40),
  disk_bytes: 9_000_000,
});
const LORA = adapter({ id: "a1", base_id: "m4", disk_bytes: 1_000_000 });

it("makes one of the precisions, conversions and adapters of a repository", () => {
  const groups = groupModels([LORA, GGUF, FOUR, model({ id: "x", model_id: "gpt2" }), EIGHT, FULL]);
  expect(groups.map(({ key }) => key)).toEqual(["Qwen/Qwen3-0.6B", "gpt2"]);
  expect(groups[0]?.variants.map(({ id }) => id)).toEqual(["m1", "m8", "m4", "g", "a1"]);
  expect(groups[0]?.head).toBe(FULL);
});

it("leaves an adapter alone whose base is not installed", () => {
  const lost = adapter({ id: "a2", base_id: null });
  expect(groupModels([FULL, lost]).map(({ head }) => head.id)).toEqual(["m1", "a2"]);
  expect(variantLabel(lost, lost)).toBe("Adapter");
});

it("names a variant by what tells it from the head", () => {
  const labels = [FULL, FOUR, GGUF, LORA].map((variant) => variantLabel(variant, FULL));
  expect(labels).toEqual(["Full precision", "4-bit", "Full precision, Q4_K_M", "lora"]);
  expect(variantLabel(model({ revision: "v2", commit: "f".repeat(40) }), FULL)).toBe("Full precision, v2");
  expect(variantLabel(model({ commit: "f".repeat(40) }), FULL)).toBe("Full precision, fffffff");
  expect(variantName(FOUR)).toBe("Qwen3-0.6B, 4-bit");
  expect(variantName(LORA)).toBe("lora, adapter");
  expect(variantName({ ...GGUF, revision: "v2" })).toBe("Qwen3-0.6B, full precision, bfloat16, Q4_K_M, v2");
});

it("counts what variants share once", () => {
  expect(diskOf([FULL])).toBe(8_190_000);
  expect(diskOf([FULL, EIGHT, FOUR, GGUF, LORA])).toBe(8_190_000 + 6_810_000 + 5_860_000 + 9_000_000 + 1_000_000);
});
