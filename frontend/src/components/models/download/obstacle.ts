import type { ModelInfo } from "../../../types/model";
import { lacksBase } from "./AdapterBase";

/** What a download waits for: access, a person's consent, weights where there are none, or the base of an adapter. */
export type Obstacle = "locked" | "consent" | "nothing" | "base" | null;

/** `fetchesBase`: the base of an adapter is downloaded with it. */
export function obstacleOf(info: ModelInfo, allowPickle: boolean, fetchesBase: boolean): Obstacle {
  if (info.access === "needs_acceptance" || info.access === "no_token" || info.access === "token_invalid")
    return "locked";
  if (needsConsent(info)) return allowPickle ? null : "consent";
  if (lacksBase(info) && (!fetchesBase || info.adapter?.base?.problem != null)) return "base";
  return info.files.some(({ path, fetch }) => fetch && path.endsWith(".safetensors")) ? null : "nothing";
}

/** Its weights are pickle files, which a person may accept. */
export function needsConsent(info: ModelInfo): boolean {
  return info.support.reasons.some(({ code }) => code === "unsafe_weights");
}
