/** What goes over the wire about sparse autoencoders; names for the generated schemas. */
import type { components } from "./openapi.gen";

type Schemas = components["schemas"];

export type Sae = Schemas["SaeResponse"];
export type SaeWork = NonNullable<Sae["work"]>;
export type SaeEvaluation = NonNullable<Sae["evaluation"]>;
export type SaePage = Schemas["SaePage"];
export type SaeEvaluate = Schemas["SaeEvaluate"];
export type SaeDownload = Schemas["SaeDownload"];
export type DeletionReport = Schemas["DeletionReport"];
