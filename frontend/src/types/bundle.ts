import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type Bundle = Schemas["BundleResponse"];
export type BundlePlan = Schemas["BundlePlan"];
export type BundleCreate = Schemas["BundleCreate"];
