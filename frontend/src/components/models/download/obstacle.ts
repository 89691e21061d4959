import type { ModelInfo } from "../../../types/model";

/** What a download waits for: access to the files, a person's consent, or weights where there are none to fetch. */
export type Obstacle = "locked" | "consent" | "nothing" | null;

export function obstacleOf(info: ModelInfo, allowPickle: boolean): Obstacle {
  if (info.access === "needs_acceptance" || info.access === "no_token" || info.access === "token_invalid")
    return "locked";
  if (needsConsent(info)) return allowPickle ? null : "consent";
  return info.files.some(({ path, fetch }) => fetch && path.endsWith(".safetensors")) ? null : "nothing";
}

/** Its weights are pickle files, which a person may accept. */
export function needsConsent(info: ModelInfo): boolean {
  return info.support.reasons.some(({ code }) => code === "unsafe_weights");
}
