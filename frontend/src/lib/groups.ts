/** One model, once: the rows of a repository, and the adapters that belong to it, as one entry of the list. */
import type { Model, Quantization } from "../types/model";
import { precisionLabel, QUANTIZATION_LABEL } from "./labels";

export interface ModelGroup {
  /** The repository's id. */
  key: string;
  /** The one that stands for the repository: its first, which no load or download changes. */
  head: Model;
  /** The head first; precisions, versions that are not in use, conversions, then adapters. */
  variants: Model[];
}

const RANK: Record<Quantization, number> = { none: 0, "8bit": 1, "4bit": 2 };

const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function order(a: Model, b: Model): number {
  return (
    Number(a.adapter !== null) - Number(b.adapter !== null) ||
    Number(a.converted_from !== null) - Number(b.converted_from !== null) ||
    Number(a.replaced_by !== null) - Number(b.replaced_by !== null) ||
    RANK[a.quantization] - RANK[b.quantization] ||
    byText(b.created_at, a.created_at) ||
    byText(a.id, b.id)
  );
}

/** An adapter stands with its base, where that is installed. */
export function groupModels(models: Model[]): ModelGroup[] {
  const bases = new Map(models.some((model) => model.base_id !== null) ? models.map((model) => [model.id, model]) : []);
  const groups = new Map<string, Model[]>();
  for (const model of models) {
    const key = bases.get(model.base_id ?? "")?.model_id ?? model.model_id;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [model]);
    else known.push(model);
  }
  return [...groups].flatMap(([key, rows]) => {
    const variants = rows.length === 1 ? rows : rows.sort(order);
    const [head] = variants;
    return head === undefined ? [] : [{ key, head, variants }];
  });
}

/** What tells a variant from the others of its repository: "4-bit", "Q4_K_M", "lora, 8-bit". */
export function variantLabel(model: Model, head: Model): string {
  const words = [
    model.adapter !== null && model !== head ? model.name : null,
    model.adapter !== null && model.quantization === "none" ? null : QUANTIZATION_LABEL[model.quantization],
    model.converted_from,
    model.commit === head.commit || model.adapter !== null ? null : revisionOf(model, head),
  ].filter((word) => word !== null);
  return words.length === 0 ? "Adapter" : words.join(", ");
}

/** A conversion's commit is no commit of the Hub. */
function revisionOf(model: Model, head: Model): string | null {
  if (model.revision !== head.revision) return model.revision;
  return model.converted_from === null ? model.commit.slice(0, 7) : null;
}

/** A variant by its full name. */
export function variantName(model: Model): string {
  const { name, adapter, converted_from: conversion, revision } = model;
  const kind = (adapter === null ? precisionLabel(model) : "adapter").toLowerCase();
  return [name, kind, conversion, revision === "main" ? null : revision].filter((word) => word !== null).join(", ");
}

/** Bytes that a variant takes on the disk alone; what it shares is counted with the variant it shares it with. */
export function ownBytes({ disk_bytes, shared_bytes }: Model): number {
  return disk_bytes - shared_bytes;
}

/** Bytes of a repository on this machine's disk. */
export function diskOf(variants: Model[]): number {
  return variants.reduce((sum, model) => sum + ownBytes(model), 0);
}
