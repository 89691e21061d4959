/** A model as people write it: `owner/name`, a bare `gpt2`, `owner/name@revision`, or the address of its page. */
export interface ModelReference {
  model_id: string;
  revision: string | null;
}

const SEGMENT = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;

/** Returns null for anything that cannot name a model (half-typed ids, dataset or space addresses). */
export function parseModelReference(text: string): ModelReference | null {
  const trimmed = text.trim();
  if (/^https?:\/\//i.test(trimmed) || /^(www\.)?(huggingface\.co|hf\.co)\//i.test(trimmed)) {
    return fromAddress(trimmed);
  }
  const at = trimmed.indexOf("@");
  const id = at === -1 ? trimmed : trimmed.slice(0, at);
  const revision = at === -1 ? null : trimmed.slice(at + 1).trim();
  if (revision === "") return null;
  return isModelId(id) ? { model_id: id, revision } : null;
}

function fromAddress(address: string): ModelReference | null {
  const url = URL.parse(address.includes("://") ? address : `https://${address}`);
  if (url === null) return null;
  let segments = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  // Another Modelyard serves its Hub below /hub.
  if (segments[0] === "hub") segments = segments.slice(1);
  if (segments[0] === "datasets" || segments[0] === "spaces") return null;
  const marker = segments.findIndex((part) => ["tree", "blob", "resolve", "commit"].includes(part));
  const named = marker === -1 ? segments.slice(0, 2) : segments.slice(0, marker);
  const id = named.join("/");
  if (!isModelId(id)) return null;
  return { model_id: id, revision: marker === -1 ? null : (segments[marker + 1] ?? null) };
}

function isModelId(id: string): boolean {
  const parts = id.split("/");
  return parts.length <= 2 && parts.every((part) => SEGMENT.test(part) && !part.includes("--") && !part.includes(".."));
}

/** The part before the slash, or null for a bare name such as `gpt2`. */
export function ownerOf(modelId: string): string | null {
  const slash = modelId.indexOf("/");
  return slash === -1 ? null : modelId.slice(0, slash);
}
