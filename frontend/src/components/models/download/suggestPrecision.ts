import type { PlannedOption } from "../../../hooks/useMemoryPlan";
import { roughWeights, verdictFor } from "../../../lib/fit";
import { kindest } from "../../../lib/memory";
import type { Device, ModelInfo, Quantization } from "../../../types/model";

const PRECISIONS: Quantization[] = ["none", "8bit", "4bit"];

/**
 * Of the precisions that are not here yet, the one that the settings prefer, where it can be had; else the most precise
 * that fits somewhere. Where all are here, of all.
 */
export function suggest(
  options: PlannedOption[],
  preferred: Quantization | null,
  here: ReadonlySet<Quantization>,
): Quantization {
  const available = options.filter(({ option }) => option.available);
  const missing = available.filter(({ quantization }) => !here.has(quantization));
  const candidates = missing.length > 0 ? missing : available;
  const names = PRECISIONS.filter((name) => candidates.some(({ quantization }) => quantization === name));
  const fitting = names.find((name) =>
    candidates.some(
      ({ quantization, verdict }) => quantization === name && (verdict === "fits" || verdict === "tight"),
    ),
  );
  return names.find((name) => name === preferred) ?? fitting ?? names[0] ?? "none";
}

/** Bytes per parameter of a quantized copy, with what it keeps unquantized and its state. */
const ROUGH_BYTES = { "8bit": 1.1, "4bit": 0.65 } as const;

/** The precisions by the number of parameters alone, until the estimate is there: a download does not wait for it. */
export function roughOptions(info: ModelInfo, devices: Device[]): PlannedOption[] {
  const { num_parameters: parameters, dtype, already_quantized: packed } = info;
  return PRECISIONS.map((quantization) => {
    const bytes =
      parameters === null || packed !== null
        ? null
        : quantization === "none"
          ? roughWeights(parameters, dtype)
          : Math.round(parameters * ROUGH_BYTES[quantization]);
    const fits = devices
      .toSorted((a, b) => Number(a.id === "cpu") - Number(b.id === "cpu"))
      .map(({ id, free_bytes: free, total_bytes: total }) => ({
        device: id,
        free,
        total,
        verdict: verdictFor(bytes, free),
        reach: null,
      }));
    return {
      option: {
        quantization,
        available: quantization === "none" || packed === null,
        note: packed === null ? null : "The weights are quantized already.",
        weights_bytes: bytes,
        quantization_state_bytes: null,
        quantized_fraction: null,
        kv_cache_bytes: null,
        activation_bytes: null,
        overhead_bytes: null,
        total_bytes: bytes,
        total_is_lower_bound: true,
        load_peak_bytes: null,
        download_bytes: null,
        disk_bytes: null,
        verdicts: [],
      },
      quantization,
      need: {
        parts: [
          { name: "weights", bytes },
          { name: "cache", bytes: null },
          { name: "activations", bytes: null },
        ],
        total: bytes,
        required: bytes,
        partial: true,
        missing: ["cache", "activations"],
        scaled: false,
      },
      fits,
      verdict: kindest(fits.map(({ verdict }) => verdict)),
    };
  });
}
