/** What goes over the wire. The server's schemas are the source; this file only names them for the page. */
import type { components, paths } from "./openapi.gen";

type Schemas = components["schemas"];

/** Fields that are null when unknown count as optional in the schema; an answer always carries them. */
export type Model = Required<Schemas["ModelResponse"]>;
export type ModelStatus = Model["status"];
export type Quantization = Model["quantization"];
export type Progress = Schemas["Progress"];
export type RowError = NonNullable<Model["error"]>;
export type ModelPage = Schemas["ModelPage"] & { items: Model[] };
export type ModelDownloadRequest = Required<Schemas["ModelDownloadRequest"]>;
export type ModelInfo = Schemas["ModelInfo"];
export type AdapterPreview = Schemas["AdapterPreview"];
export type RepoFile = Schemas["FilePlan"];
export type Access = ModelInfo["access"];
export type SearchItem = Schemas["SearchItem"];
export type SearchPage = Schemas["SearchPage"];
export type SearchSort = NonNullable<NonNullable<paths["/api/v1/models/search"]["get"]["parameters"]["query"]>["sort"]>;
export type MemoryEstimate = Schemas["MemoryEstimate"];
export type FastDtype = Schemas["FastDtype"];
export type MemoryOption = Schemas["MemoryOption"];
export type EstimateQuery = Required<paths["/api/v1/models/estimate-memory"]["get"]["parameters"]["query"]>;
export type EstimateParts = EstimateQuery["parts"];
export type Dtype = EstimateQuery["dtype"];
export type KvCacheSegment = Schemas["KvCacheSegment"];
export type Verdict = Schemas["Verdict"]["verdict"];
export type DeletionReport = Schemas["DeletionReport"];
export type DeletionPlan = Schemas["DeletionPlan"];
export type DeletionPlanRequest = Schemas["DeletionPlanRequest"];
/** What is noted about a repository: all its models have the same. */
export type Labels = Pick<Model, "tags" | "note" | "favourite" | "pinned_commit">;
export type UpdatePlan = Schemas["UpdatePlan"];
export type HistoryEvent = Schemas["HistoryEvent"];
export type HistoryPage = Schemas["HistoryPage"];
export type InstalledFile = Schemas["InstalledFile"];
export type ModelCard = Schemas["ModelCard"];
export type TextFile = Schemas["TextFile"];
export type Architecture = Schemas["Architecture"];
export type HookPoint = Schemas["HookPoint"];
export type HookKind = HookPoint["kind"];
export type ModuleNode = Schemas["ModuleNode"];
export type ImportRequest = Pick<Required<Schemas["ModelImportRequest"]>, "mode"> & { path: string; model_id: string };
export type CacheListing = Schemas["CacheListing"];
export type SystemInfo = Schemas["System"];
export type Device = Schemas["Device"];
export type Disk = Schemas["Disk"];
export type HubAnswer = Schemas["HubAnswer"];
export type HubAttempt = Partial<Schemas["HubTestRequest"]>;
export type SettingsView = Schemas["SettingsResponse"];
export type SettingsChange = Partial<Schemas["SettingsUpdate"]>;
export type Problem = Schemas["Problem"];

export type LoadedModel = Schemas["LoadedModelResponse"];
export type QuantizeRequest = Required<Schemas["QuantizeRequest"]>;
export type Drift = Schemas["Drift"];

export type Intervention = Schemas["InterventionSpec"];

/** OpenAI's API; what has a default there may be left out. */
type Asked<T, Needed extends keyof T> = Partial<T> & Pick<T, Needed>;
export type ChatRequest = Asked<Omit<Schemas["ChatCompletionRequest"], "messages">, "model"> & {
  messages: ChatMessage[];
};
export type CompletionRequest = Asked<Schemas["CompletionRequest"], "model" | "prompt">;
export type ChatMessage = Schemas["ChatMessage"] & { content: string };
export type ChatLogprobs = Schemas["ChatLogprobs"];
export type CompletionLogprobs = Schemas["CompletionLogprobs"];
export type FinishReason = Schemas["ChatChoice"]["finish_reason"];
export type Usage = Schemas["Usage"];
export type OpenAIError = Schemas["OpenAIError"];

/** To answer a conversation, or to continue a text. */
export type AnswerRequest =
  { path: "/chat/completions"; body: ChatRequest } | { path: "/completions"; body: CompletionRequest };
