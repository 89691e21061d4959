import type { PlannedOption } from "../../../hooks/useMemoryPlan";
import { fitOf, roughWeights } from "../../../lib/fit";
import type { Device, ModelInfo, Quantization, Verdict } from "../../../types/model";

interface Candidate {
  quantization: Quantization;
  available: boolean;
  verdict: Verdict;
}

/**
 * What the settings prefer, where it can be had; else the most precise that fits somewhere, or full precision. Until the
 * estimate is there, by rough figures: a download does not wait for it.
 */
export function suggest(options: PlannedOption[], preferred: Quantization | null, rough: Candidate[]): Quantization {
  const known = options.map(({ option, quantization, verdict }) => ({
    quantization,
    available: option.available,
    verdict,
  }));
  const candidates = (known.length > 0 ? known : rough).filter(({ available }) => available);
  const order: Quantization[] = ["none", "8bit", "4bit"];
  const fitting = order.find((name) =>
    candidates.some(
      ({ quantization, verdict }) => quantization === name && (verdict === "fits" || verdict === "tight"),
    ),
  );
  return candidates.find(({ quantization }) => quantization === preferred)?.quantization ?? fitting ?? "none";
}

/** Bytes per parameter of a quantized copy, with what it keeps unquantized and its state. */
const ROUGH_BYTES = { "8bit": 1.1, "4bit": 0.65 } as const;

/** Whether the weights alone seem to fit in each precision; where the parameters are not known, none seems to. */
export function roughFits(info: ModelInfo, devices: Device[]): Candidate[] {
  const { num_parameters: parameters, dtype, already_quantized: packed } = info;
  const bytes = (quantization: Quantization) =>
    parameters === null
      ? null
      : quantization === "none"
        ? roughWeights(parameters, dtype)
        : parameters * ROUGH_BYTES[quantization];
  return (["none", "8bit", "4bit"] as const).map((quantization) => ({
    quantization,
    available: quantization === "none" || packed === null,
    verdict: fitOf(bytes(quantization), devices).verdict,
  }));
}
