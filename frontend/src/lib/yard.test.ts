import { expect, it } from "vitest";
import { disk, GB, loadedModel, system } from "../test/fixtures";
import { roughFit, verdictFor } from "./fit";
import { placesOf, wantedIn } from "./yard";

const machine = system({
  devices: [
    {
      id: "cpu",
      name: "Memory of lab-box (x86_64)",
      total_bytes: 64 * GB,
      free_bytes: 50 * GB,
      used_by_us_bytes: 0.1 * GB,
    },
    { id: "cuda:0", name: "GPU", total_bytes: 24 * GB, free_bytes: 10 * GB, used_by_us_bytes: 8 * GB },
  ],
  disks: [
    disk({ used_by_us_bytes: 30 * GB }),
    disk({ path: "/home", total_bytes: 100 * GB, free_bytes: 20 * GB, purpose: "data" }),
  ],
});

it("puts accelerators first and splits their memory into others, models and free", () => {
  const places = placesOf(machine, [
    loadedModel({ id: "a", quantization: "4bit", device: "cuda:0", measured_bytes: 6 * GB }),
  ]);
  const [gpu, memory] = places;
  expect(places.map((place) => place.label)).toEqual(["GPU 0", "System memory", "Disk", "Disk"]);
  expect(gpu?.others).toBe(6 * GB);
  expect(gpu?.blocks.map((block) => [block.label, block.bytes])).toEqual([
    ["Qwen3-0.6B", 6 * GB],
    ["Modelyard", 2 * GB],
  ]);
  // Too little to be drawn.
  expect(memory?.blocks).toEqual([]);
});

it("lays each part of a model where it would stand", () => {
  const wanted = { memory: 3 * GB, cache: 7 * GB, artifact: 2 * GB };
  expect(placesOf(machine, []).map((place) => wantedIn(place, wanted))).toEqual([3 * GB, 3 * GB, 7 * GB, 2 * GB]);
  const oneDisk = placesOf(system(), []).at(-1);
  expect(oneDisk && wantedIn(oneDisk, wanted)).toBe(9 * GB);
  expect(oneDisk && wantedIn(oneDisk, { ...wanted, artifact: null })).toBeNull();
});

it("tells the managed models apart from the rest of a disk", () => {
  const [cache, data] = placesOf(machine, []).slice(-2);
  expect(cache).toMatchObject({ others: 270 * GB, blocks: [{ label: "Models", bytes: 30 * GB }] });
  expect(data).toMatchObject({ others: 80 * GB, blocks: [] });
});

it("says in a few words what a disk is for", () => {
  const one = system({ disks: [disk({ purpose: "models, quantized models and data" })] });
  expect(placesOf(one, null).at(-1)?.detail).toBe("models and data");
  expect(placesOf(machine, null).map((place) => place.detail)).toEqual(["GPU", "lab-box (x86_64)", "models", "data"]);
});

it("has a first idea from the parameters alone", () => {
  const { devices } = machine;
  expect(roughFit(1e9, devices)).toEqual({ verdict: "fits", words: "fits" });
  expect(roughFit(4.5e9, devices)).toEqual({ verdict: "tight", words: "tight" });
  expect(roughFit(7e9, devices)).toEqual({ verdict: "fits", words: "fits in system memory only" });
  expect(roughFit(70e9, devices)).toEqual({ verdict: "does_not_fit", words: "too large" });
  expect(roughFit(70e9, devices.slice(0, 1))).toEqual({ verdict: "does_not_fit", words: "too large" });
  expect(roughFit(1e9, devices.slice(0, 1))).toEqual({ verdict: "fits", words: "fits" });
  expect(roughFit(null, devices)).toEqual({ verdict: "unknown", words: "fit unknown" });
  expect(roughFit(1e9, [])).toEqual({ verdict: "unknown", words: "fit unknown" });
});

it("judges by what is free, and never guesses", () => {
  expect(verdictFor(8.5, 10)).toBe("fits");
  expect(verdictFor(8.6, 10)).toBe("tight");
  expect(verdictFor(10, 10)).toBe("tight");
  expect(verdictFor(10.1, 10)).toBe("does_not_fit");
  expect(verdictFor(null, 10)).toBe("unknown");
});
