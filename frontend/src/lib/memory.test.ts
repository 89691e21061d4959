import { describe, expect, it } from "vitest";
import { estimate, GB, option } from "../test/fixtures";
import { activationsFor, axisEnd, axisTicks, contextStops, kindest, kvCacheBytes, longestFit, needOf } from "./memory";

const PLAIN = [{ from_tokens: 0, bytes_at_from: 0, bytes_per_token: 32_768 }];
/** Half of the layers stop growing at 4096 tokens. */
const SLIDING = [
  { from_tokens: 0, bytes_at_from: 1000, bytes_per_token: 200 },
  { from_tokens: 4096, bytes_at_from: 820_200, bytes_per_token: 100 },
];

describe("the cache", () => {
  it("grows with tokens and sequences", () => {
    expect(kvCacheBytes(PLAIN, { context: 2048, batch: 1 })).toBe(67_108_864);
    expect(kvCacheBytes(PLAIN, { context: 2048, batch: 3 })).toBe(3 * 67_108_864);
  });

  it("follows the last segment that has begun", () => {
    expect(kvCacheBytes(SLIDING, { context: 4095, batch: 1 })).toBe(1000 + 4095 * 200);
    expect(kvCacheBytes(SLIDING, { context: 4096, batch: 1 })).toBe(820_200);
    expect(kvCacheBytes(SLIDING, { context: 4196, batch: 2 })).toBe(2 * 830_200);
  });

  it("is unknown, not nothing, without segments", () => {
    expect(kvCacheBytes([], { context: 2048, batch: 1 })).toBeNull();
  });
});

describe("activations", () => {
  const samples = [
    { context: 2048, batch: 1, bytes: 100 },
    { context: 16_384, batch: 1, bytes: 900 },
  ];

  it("are exact where they were told and in proportion to the nearest elsewhere", () => {
    expect(activationsFor(samples, { context: 2048, batch: 1 })).toEqual({ bytes: 100, scaled: false });
    expect(activationsFor(samples, { context: 1024, batch: 4 })).toEqual({ bytes: 200, scaled: true });
    expect(activationsFor(samples, { context: 32_768, batch: 1 })).toEqual({ bytes: 1800, scaled: true });
  });

  it("stay unknown", () => {
    expect(activationsFor([], { context: 2048, batch: 1 }).bytes).toBeNull();
    expect(activationsFor([{ context: 2048, batch: 1, bytes: null }], { context: 4096, batch: 1 })).toEqual({
      bytes: null,
      scaled: false,
    });
  });
});

describe("a need", () => {
  const samples = [{ context: 2048, batch: 1, bytes: 0.1 * GB }];

  it("adds up to the server's own total", () => {
    const told = estimate();
    const [full] = told.options;
    if (full === undefined) throw new Error("no option");
    const need = needOf(full, told.kv_cache_segments, samples, { context: 2048, batch: 1 });
    expect(need.total).toBe(full.total_bytes);
    expect(need).toMatchObject({ partial: false, scaled: false, required: full.total_bytes });
  });

  it("takes the state out of the weights and leaves out what takes nothing", () => {
    const need = needOf(option({ quantization_state_bytes: 0.2 * GB }), PLAIN, samples, { context: 2048, batch: 1 });
    expect(need.parts.map(({ name, bytes }) => [name, bytes])).toEqual([
      ["weights", 1 * GB],
      ["state", 0.2 * GB],
      ["cache", 67_108_864],
      ["activations", 0.1 * GB],
    ]);
  });

  it("requires the peak while loading where that is more", () => {
    const need = needOf(option({ load_peak_bytes: 9 * GB }), PLAIN, samples, { context: 2048, batch: 1 });
    expect(need.required).toBe(9 * GB);
    expect(need.total).toBeLessThan(2 * GB);
  });

  it("says what is not known", () => {
    const workload = { context: 2048, batch: 1 };
    expect(needOf(option(), [], samples, workload)).toMatchObject({ partial: true, total: 1.3 * GB });
    expect(needOf(option({ weights_bytes: null }), PLAIN, samples, workload)).toMatchObject({
      total: null,
      required: null,
      partial: false,
    });
  });

  it("is a lower bound where a part or what becomes of the weights is not known", () => {
    const workload = { context: 2048, batch: 1 };
    expect(needOf(option({ overhead_bytes: null }), PLAIN, samples, workload)).toMatchObject({
      partial: true,
      missing: ["overhead"],
    });
    expect(needOf(option({ total_is_lower_bound: true }), PLAIN, samples, workload)).toMatchObject({
      partial: true,
      missing: [],
    });
  });

  it("is marked where its activations are in proportion", () => {
    expect(needOf(option(), PLAIN, samples, { context: 4096, batch: 1 }).scaled).toBe(true);
  });
});

describe("the longest context that fits", () => {
  const samples = [{ context: 1000, batch: 1, bytes: 0 }];
  const at =
    (segments = PLAIN, changes = {}) =>
    (context: number) =>
      needOf(option({ weights_bytes: 1 * GB, ...changes }), segments, samples, { context, batch: 1 });

  it("is the last one whose verdict is fits", () => {
    const free = 4 * GB;
    const found = longestFit(at(), free, 1_000_000) ?? 0;
    // (0.85 * 4 GB - 1 GB) / 32768 bytes, rounded down to 64 tokens.
    expect(found).toBe(73_216);
    expect(at()(found).required).toBeLessThanOrEqual(0.85 * free);
    expect(at()(found + 64).required).toBeGreaterThan(0.85 * free);
  });

  it("ends at what the model was made for", () => {
    expect(longestFit(at(), 4 * GB, 40_960)).toBe(40_960);
  });

  it("is 0 where the weights or their loading do not fit, and unknown where it cannot be told", () => {
    expect(longestFit(at(), 1 * GB, 40_960)).toBe(0);
    expect(longestFit(at(PLAIN, { load_peak_bytes: 5 * GB }), 4 * GB, 40_960)).toBe(0);
    expect(longestFit(at([]), 4 * GB, 40_960)).toBeNull();
    expect(longestFit(at(PLAIN, { weights_bytes: null }), 4 * GB, 40_960)).toBeNull();
  });
});

it("stops at round contexts and at the longest", () => {
  expect(contextStops(1024)).toEqual([128, 192, 256, 384, 512, 768, 1024]);
  expect(contextStops(40_960).slice(-3)).toEqual([24_576, 32_768, 40_960]);
  expect(contextStops(100)).toEqual([100]);
});

it("draws limits near the needs and leaves far ones out", () => {
  expect(axisEnd([10, 5], [20])).toBeCloseTo(20.4);
  expect(axisEnd([10, 5], [1000])).toBeCloseTo(10.4);
  expect(axisEnd([], [])).toBe(0);
  expect(axisTicks(20.4, 6)).toEqual([0, 5, 10, 15, 20]);
  expect(axisTicks(0, 6)).toEqual([0]);
});

it("takes the kindest verdict", () => {
  expect(kindest(["does_not_fit", "tight"])).toBe("tight");
  expect(kindest(["does_not_fit", "unknown"])).toBe("unknown");
  expect(kindest([])).toBe("unknown");
});
