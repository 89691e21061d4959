/** What goes over the wire about sparse autoencoders; names for the generated schemas. */
import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type Sae = Schemas["SaeResponse"];
export type SaeWork = NonNullable<Sae["work"]>;
export type SaeEvaluation = NonNullable<Sae["evaluation"]>;
export type SaePage = Schemas["SaePage"];
export type SaeEvaluate = Schemas["SaeEvaluate"];
export type SaeFeaturesBuild = Schemas["SaeFeaturesBuild"];
export type SaeFeatureItem = Schemas["SaeFeatureItem"];
export type SaeFeaturePage = Schemas["SaeFeaturePage"];
export type SaeFeature = Schemas["SaeFeature"];
export type FeaturePassage = Schemas["FeaturePassage"];
export type TokenEffect = Schemas["TokenEffect"];
export type SaeTextFeatures = Schemas["SaeTextFeatures"];
export type FeatureSort = "-density" | "density" | "-max" | "max" | "index";
export type SaeDownload = Schemas["SaeDownload"];
export type DeletionReport = Schemas["DeletionReport"];
