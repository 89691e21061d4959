import { Anchor, Autocomplete, Button, Checkbox, Group, Loader, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { ApiError } from "../../lib/apiError";
import { getModelInfo, searchHub } from "../../api/models";
import { getSettings } from "../../api/system";
import { type PlannedOption, useMemoryPlan } from "../../hooks/useMemoryPlan";
import { useModelList } from "../../hooks/useModels";
import { useResource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { fitOf, roughWeights } from "../../lib/fit";
import { hitFacts, isGated } from "../../lib/hub";
import { type ModelReference, parseModelReference } from "../../lib/modelId";
import { type ProblemView, toProblem } from "../../lib/problems";
import { isActive, STATUS_LABEL, VERDICT_LABEL } from "../../lib/labels";
import { placesOf, type Wanted, wantedIn } from "../../lib/yard";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import type { Device, MemoryOption, Model, ModelInfo, Quantization, SearchItem, Verdict } from "../../types/model";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { FitHint } from "./memory/FitHint";
import { HubUnreachable } from "./hub/HubUnreachable";
import { MemoryChart } from "./memory/MemoryChart";
import classes from "./ModelDownloadForm.module.css";
import { ModelPreview } from "./download/ModelPreview";
import { PrecisionBadge } from "../common/PrecisionBadge";
import { RoughMemory } from "./memory/RoughMemory";
import { Yard } from "./memory/Yard";
import { VerdictLabel } from "../common/VerdictLabel";

const SEARCH_DELAY_MS = 250;
const HOW_TO_WRITE = "Write it as owner/name, as a bare name such as gpt2, or paste the address of a model page.";

interface Props {
  /** A model to look up at once. */
  initial: string;
  /** What is shown now, as `initial` takes it, so that the way to the settings and back leads to the same model. */
  onLookUp?: (reference: string) => void;
  onDone: (model: Model) => void;
}

/** From a name to a started download: search, preview, precision with its memory, disk, go. */
export function ModelDownloadForm({ initial, onLookUp, onDone }: Props) {
  const [target, setTarget] = useState<ModelReference | null>(() => parseModelReference(initial));
  const [text, setText] = useState(target?.model_id ?? initial);
  const [revision, setRevision] = useState(target?.revision ?? "");
  const [invalid, setInvalid] = useState(false);

  const builtin = useSystemStore((state) => state.system?.hub.endpoint_source === "builtin");

  const info = useResource(target === null ? null : `${target.model_id}@${target.revision ?? ""}`, (signal) =>
    target === null ? Promise.reject(new Error("no model")) : getModelInfo(target.model_id, target.revision, signal),
  );

  function lookUp(value: string, at = revision) {
    const reference = parseModelReference(value);
    setInvalid(reference === null);
    if (reference === null) return;
    if (reference.revision !== null) setRevision(reference.revision);
    const wanted = reference.revision ?? (at.trim() === "" ? null : at.trim());
    setTarget({ model_id: reference.model_id, revision: wanted });
    onLookUp?.(wanted === null ? reference.model_id : `${reference.model_id}@${wanted}`);
  }

  return (
    <Stack gap="md">
      <form
        className={classes.lookup}
        onSubmit={(event) => {
          event.preventDefault();
          lookUp(text);
        }}
      >
        <HubSearch
          text={text}
          invalid={invalid}
          current={target?.model_id ?? null}
          onText={(value) => {
            setText(value);
            setInvalid(false);
          }}
          onPick={lookUp}
        />
        <div className={classes.at}>
          <TextInput
            label="Revision"
            placeholder="default branch"
            value={revision}
            onChange={(event) => setRevision(event.currentTarget.value)}
          />
          <Button type="submit" variant="default" disabled={text.trim() === ""}>
            Look up
          </Button>
        </div>
      </form>

      {info.loading && (
        <Placeholder
          h={168}
          label={builtin ? "Asking the sample Hub, which makes a sample when it is first asked for" : "Asking the Hub"}
        />
      )}
      {info.problem !== null &&
        (info.problem.code === "hub_unreachable" ? (
          <HubUnreachable problem={info.problem} onRetry={info.reload} />
        ) : (
          <InfoProblem problem={info.problem} target={target} onRetry={info.reload} />
        ))}
      {info.data !== null && (
        <Chosen
          key={`${info.data.model_id}@${info.data.commit}`}
          info={info.data}
          revision={target?.revision ?? null}
          onRecheck={info.reload}
          onDone={onDone}
        />
      )}
    </Stack>
  );
}

interface HubSearchProps {
  text: string;
  invalid: boolean;
  /** The model shown below already; it needs no search. */
  current: string | null;
  onText: (text: string) => void;
  onPick: (modelId: string) => void;
}

function HubSearch({ text, invalid, current, onText, onPick }: HubSearchProps) {
  const [query] = useDebouncedValue(text.trim(), SEARCH_DELAY_MS);
  const settled = query === current || /^https?:/i.test(query);
  const search = useResource(
    settled ? null : `search:${query}`,
    async (signal) => (await searchHub(query, 10, signal)).items,
  );
  const hub = useSystemStore((state) => state.system?.hub);
  const items = new Map((search.data ?? []).map((item) => [item.model_id, item]));
  const unreachable = search.problem?.code === "hub_unreachable";
  return (
    <div className={classes.search}>
      <Autocomplete
        label="Model"
        description={
          hub === undefined
            ? " "
            : hub.endpoint_source === "builtin"
              ? "Names are looked up on the built-in sample Hub"
              : `Names are looked up on ${hub.endpoint}`
        }
        inputWrapperOrder={["label", "input", "error", "description"]}
        placeholder="owner/name, gpt2, or the address of a model page"
        value={text}
        onChange={onText}
        onOptionSubmit={onPick}
        onPaste={(event) => {
          const pasted = event.clipboardData.getData("text");
          if (parseModelReference(pasted) !== null && /^https?:/i.test(pasted.trim())) {
            event.preventDefault();
            onText(pasted.trim());
            onPick(pasted);
          }
        }}
        data={[...items.keys()]}
        filter={({ options }) => options}
        openOnFocus={false}
        renderOption={({ option }) => <SearchOption id={option.value} item={items.get(option.value)} />}
        rightSection={search.loading ? <Loader size={14} aria-label="Searching" /> : null}
        error={invalid ? HOW_TO_WRITE : null}
        aria-autocomplete="list"
        comboboxProps={{ shadow: "none", transitionProps: { duration: 80 } }}
        spellCheck={false}
        autoCapitalize="none"
        data-autofocus
      />
      {search.problem !== null &&
        (unreachable ? (
          <HubUnreachable problem={search.problem} onRetry={search.reload} />
        ) : (
          <Text size="xs" c="dimmed">
            The search is not available: {search.problem.message} “Look up” asks for a full name.
          </Text>
        ))}
      {search.data?.length === 0 && query !== "" && !invalid && (
        <Text size="xs" c="dimmed">
          No search result for “{query}”.{" "}
          {parseModelReference(query) === null ? HOW_TO_WRITE : "“Look up” asks for exactly this name."}
        </Text>
      )}
    </div>
  );
}

function SearchOption({ id, item }: { id: string; item: SearchItem | undefined }) {
  const facts =
    item === undefined
      ? []
      : [...hitFacts(item), isGated(item) ? "gated" : null, item.installed ? "already here" : null];
  return (
    <span className={classes.found}>
      <span className="truncate">{id}</span>
      <span className={`${classes.foundFacts} num`}>
        {item !== undefined && <FitHint parameters={item.num_parameters} />}
        <span>{facts.filter((fact) => fact !== null).join(" · ")}</span>
      </span>
    </span>
  );
}

/** The page's Hub view, looking for the name without its owner. */
function searchAddress(modelId: string): string {
  return `/models?view=hub&find=${encodeURIComponent(modelId.split("/").at(-1) ?? modelId)}`;
}

function InfoProblem({
  problem,
  target,
  onRetry,
}: {
  problem: ProblemView;
  target: ModelReference | null;
  onRetry: () => void;
}) {
  const builtin = useSystemStore((state) => state.system?.hub.endpoint_source === "builtin");
  const unknown = problem.code === "hub_model_not_found";
  const title = {
    hub_model_not_found: `There is no model ${target?.model_id ?? ""} on this Hub`,
    revision_not_found: `${target?.model_id ?? ""} has no revision ${target?.revision ?? ""}`,
  }[problem.code];
  if (unknown && builtin) {
    const message = "The built-in sample Hub has only its own small models.";
    return (
      <ProblemAlert title={title ?? message} problem={{ ...problem, message, hint: null }}>
        <Button size="compact-sm" component={Link} to="/settings">
          Choose another Hub
        </Button>
        <Button size="compact-sm" variant="default" component={Link} to="/models?view=hub">
          Show its models
        </Button>
      </ProblemAlert>
    );
  }
  // Where the title says what happened, the message would only repeat it.
  const { hint } = problem;
  const rest = title !== undefined && hint !== null ? { ...problem, message: hint, hint: null } : problem;
  return (
    <ProblemAlert title={title ?? "The Hub does not show this model"} problem={rest}>
      {unknown && target !== null && (
        <Button size="compact-sm" variant="default" component={Link} to={searchAddress(target.model_id)}>
          Search for similar names
        </Button>
      )}
      <TryAgain onClick={onRetry} />
      {["gated_no_token", "token_invalid", "hub_model_not_found", "hub_rate_limited"].includes(problem.code) && (
        <Button size="compact-sm" variant="default" component={Link} to="/settings">
          Set a token
        </Button>
      )}
    </ProblemAlert>
  );
}

interface ChosenProps {
  info: ModelInfo;
  revision: string | null;
  onRecheck: () => void;
  onDone: (model: Model) => void;
}

function Chosen({ info, revision, onRecheck, onDone }: ChosenProps) {
  const [picked, setPicked] = useState<Quantization | null>(null);
  const [keepOriginal, setKeepOriginal] = useState(true);
  const [allowPickle, setAllowPickle] = useState(false);
  const obstacle = obstacleOf(info, allowPickle);
  const loadable = info.support.level !== "unsupported";
  const askable = obstacle !== "locked" && obstacle !== "nothing";
  const longest = info.dimensions.max_position_embeddings ?? null;
  const plan = useMemoryPlan(askable ? { model_id: info.model_id, revision: info.commit, longest } : null);
  const settings = useResource("settings", getSettings);
  const rows = useRowsOf(info);
  const devices = useSystemStore((state) => state.system?.devices);
  const suggested =
    settings.loading || !askable
      ? null
      : suggest(plan.options, settings.data?.defaults.quantization ?? null, roughFits(info, devices ?? []));
  const quantization = picked ?? suggested;
  const option = plan.options.find((candidate) => candidate.quantization === quantization);
  const artifact = quantization === "none" ? 0 : (option?.option.disk_bytes ?? 0);
  // A copy is made of the original, which goes only then.
  const diskShort = useDiskShort({ memory: null, cache: info.missing_bytes, artifact });
  const kept = quantization === "none" || keepOriginal;
  const wanted: Wanted = {
    memory: loadable ? (option?.need.required ?? null) : 0,
    cache: kept ? info.missing_bytes : 0,
    artifact,
  };
  const rough =
    info.num_parameters === null || info.already_quantized !== null
      ? undefined
      : { parameters: info.num_parameters, dtype: info.dtype };
  const figures = plan.options.some(({ need }) => need.total !== null);

  return (
    <>
      <ModelPreview info={info} revision={revision} estimate={plan.estimate} onRecheck={onRecheck} />
      {needsConsent(info) && (
        <Checkbox
          checked={allowPickle}
          onChange={(event) => setAllowPickle(event.currentTarget.checked)}
          label="Accept pickle weights from this author"
          description="They are read in a way that runs no code in them."
        />
      )}
      {obstacle === "locked" && (
        <div>
          {rough !== undefined && <RoughMemory {...rough} />}
          <Text size="sm" c="dimmed">
            What it needs exactly can be told once its files may be read.
          </Text>
        </div>
      )}
      {askable && (loadable || plan.loading || figures) && (
        <MemoryChart
          title="Precision"
          plan={plan}
          selected={quantization}
          rough={rough}
          marks={Object.fromEntries([...rows].map(([name, row]) => [name, installedLabel(row)]))}
          filesOf={({ option, quantization }) =>
            option.available || quantization === "none" ? formatFiles(option, info, keepOriginal) : undefined
          }
          onPick={loadable ? setPicked : undefined}
        />
      )}
      {option !== undefined && (
        <Yard label="Where it would go" ghost={{ label: info.model_id, quantization: option.quantization, wanted }} />
      )}
      {quantization !== null && quantization !== "none" && (
        <Checkbox
          checked={keepOriginal}
          onChange={(event) => setKeepOriginal(event.currentTarget.checked)}
          label="Keep the original weights"
          description="Another precision can then be made later without a second download."
        />
      )}
      <Submit
        info={info}
        option={option}
        dtype={plan.estimate?.dtype ?? info.dtype}
        estimating={plan.loading}
        diskShort={diskShort}
        obstacle={obstacle}
        row={quantization === null ? undefined : rows.get(quantization)}
        request={
          quantization === null
            ? null
            : {
                model_id: info.model_id,
                revision,
                quantization,
                keep_original: keepOriginal,
                allow_pickle: allowPickle,
              }
        }
        onRecheck={onRecheck}
        onDone={onDone}
      />
    </>
  );
}

/** What a download waits for: access to the files, a person's consent, or weights where there are none to fetch. */
type Obstacle = "locked" | "consent" | "nothing" | null;

function obstacleOf(info: ModelInfo, allowPickle: boolean): Obstacle {
  if (info.access === "needs_acceptance" || info.access === "no_token" || info.access === "token_invalid")
    return "locked";
  if (needsConsent(info)) return allowPickle ? null : "consent";
  return info.files.some(({ path, fetch }) => fetch && path.endsWith(".safetensors")) ? null : "nothing";
}

/** Its weights are pickle files, which a person may accept. */
function needsConsent(info: ModelInfo): boolean {
  return info.support.reasons.some(({ code }) => code === "unsafe_weights");
}

/** "Downloads 26.7 MB · 39.7 MB on disk after (13.0 MB without the original)". */
function formatFiles(option: MemoryOption, info: ModelInfo, keepOriginal: boolean): string {
  const download = info.missing_bytes === 0 ? "Nothing to download" : `Downloads ${formatBytes(info.missing_bytes)}`;
  if (option.quantization === "none") return `${download} · ${formatBytes(info.size_bytes)} on disk after`;
  if (option.disk_bytes === null) return `${download} · the disk it takes after is not known`;
  const copy = formatBytes(option.disk_bytes);
  const both = formatBytes(info.size_bytes + option.disk_bytes);
  return keepOriginal
    ? `${download} · ${both} on disk after (${copy} without the original)`
    : `${download} · ${copy} on disk after (${both} while it is made)`;
}

/** The rows that a download of this commit would meet, by their precision; one that failed or is gone starts again. */
function useRowsOf({ model_id, commit }: ModelInfo): Map<Quantization, Model> {
  const rows = useModelList();
  return useMemo(
    () =>
      new Map(
        rows
          .filter((row) => row.model_id === model_id && row.commit === commit)
          .filter(({ status }) => status === "ready" || isActive(status))
          .map((row) => [row.quantization, row]),
      ),
    [rows, model_id, commit],
  );
}

function installedLabel({ status }: Model): string {
  return status === "ready" ? "here already" : STATUS_LABEL[status].toLowerCase();
}

interface Candidate {
  quantization: Quantization;
  available: boolean;
  verdict: Verdict;
}

/**
 * What the settings prefer, where it can be had; else the most precise that fits somewhere, or full precision. Until the
 * estimate is there, by rough figures: a download does not wait for it.
 */
function suggest(options: PlannedOption[], preferred: Quantization | null, rough: Candidate[]): Quantization {
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
function roughFits(info: ModelInfo, devices: Device[]): Candidate[] {
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

/** Bytes the fullest disk lacks for this; 0 when there is room. */
function useDiskShort(wanted: Wanted): number {
  const system = useSystemStore((state) => state.system);
  const disks = system === null ? [] : placesOf(system, []).filter((place) => place.kind === "disk");
  return Math.max(0, ...disks.map((disk) => (wantedIn(disk, wanted) ?? 0) - disk.free));
}

interface SubmitProps {
  info: ModelInfo;
  /** What the chosen precision takes; undefined while that is not known. */
  option: PlannedOption | undefined;
  /** The memory is being worked out. */
  estimating: boolean;
  /** What full precision is stored in. */
  dtype: string | null;
  /** Bytes missing on the disk; 0 when there is room. */
  diskShort: number;
  obstacle: Obstacle;
  /** The model in this precision, where it is here or on its way. */
  row: Model | undefined;
  /** Null as long as no precision is chosen. */
  request: Parameters<ReturnType<typeof useModelsStore.getState>["downloadModel"]>[0] | null;
  onRecheck: () => void;
  onDone: (model: Model) => void;
}

function Submit(props: SubmitProps) {
  const { info, option, estimating, dtype, diskShort, obstacle, row, request, onRecheck, onDone } = props;
  const downloadModel = useModelsStore((state) => state.downloadModel);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; existing: string | null } | null>(null);
  const loadable = info.support.level !== "unsupported";

  async function submit() {
    if (request === null) return;
    setBusy(true);
    setFailure(null);
    try {
      onDone(await downloadModel(request));
    } catch (error) {
      const id = error instanceof ApiError && error.code === "already_exists" ? error.problem.id : null;
      setFailure({ problem: toProblem(error), existing: typeof id === "string" ? id : null });
      setBusy(false);
    }
  }

  return (
    <Stack gap="sm" className={classes.actions}>
      {diskShort > 0 && row === undefined && (
        <Text size="sm" className={classes.short}>
          The disk lacks {formatBytes(diskShort)} for this.{" "}
          <Anchor component={Link} to="/models?sort=disk" fz="inherit">
            Show the largest models
          </Anchor>
        </Text>
      )}
      {failure !== null && <Failure {...failure} />}
      {row === undefined && <Condition obstacle={obstacle} loadable={loadable} />}
      <Group gap="xs">
        {request !== null && (
          <span className={`${classes.choice} num`}>
            <PrecisionBadge
              quantization={request.quantization}
              dtype={request.quantization === "none" ? dtype : null}
            />
            <Choice option={option} estimating={estimating} diskShort={diskShort} loadable={loadable} />
          </span>
        )}
        <Group gap="xs" ml="auto">
          {obstacle === "locked" ? (
            <>
              <Button variant="default" onClick={onRecheck}>
                Check again
              </Button>
              {info.access === "needs_acceptance" ? (
                <Button component="a" href={`${info.endpoint}/${info.canonical_id}`} target="_blank" rel="noreferrer">
                  Open the model's page
                </Button>
              ) : (
                <Button component={Link} to="/settings">
                  Set a token
                </Button>
              )}
            </>
          ) : row !== undefined ? (
            <Button component={Link} to={`/models/${row.id}`}>
              Show it
            </Button>
          ) : (
            <Button
              disabled={busy || obstacle !== null || request === null || diskShort > 0}
              onClick={() => void submit()}
            >
              {busy
                ? "Starting the download…"
                : [
                    loadable && option?.verdict !== "does_not_fit" ? "Download" : "Download anyway",
                    ...(info.missing_bytes > 0 ? [formatBytes(info.missing_bytes)] : []),
                  ].join(" ")}
            </Button>
          )}
        </Group>
      </Group>
    </Stack>
  );
}

function Failure({ problem, existing }: { problem: ProblemView; existing: string | null }) {
  if (existing === null) return <ProblemAlert title="The download did not start" problem={problem} />;
  return (
    <ProblemAlert
      title="It is among your models already"
      problem={{ ...problem, message: "Nothing was downloaded.", hint: null }}
      tone="warn"
    >
      <Button size="compact-sm" variant="default" component={Link} to={`/models/${existing}`}>
        Show it
      </Button>
    </ProblemAlert>
  );
}

interface ConditionProps {
  obstacle: Obstacle;
  loadable: boolean;
}

/** Why the button beside it waits, or what it gives where that is less than usual. */
function Condition({ obstacle, loadable }: ConditionProps) {
  if (obstacle === "locked") return null;
  const words =
    obstacle === "nothing"
      ? "There are no weights here that could be fetched."
      : obstacle === "consent"
        ? "Accept the pickle weights above to download them."
        : loadable
          ? null
          : "It cannot be loaded here. Its files are fetched for use with other programs.";
  return words === null ? null : (
    <Text size="sm" c="dimmed" role="status">
      {words}
    </Text>
  );
}

/** Whether what the button is about to fetch fits, as its options may be out of sight. */
function Choice({
  option,
  estimating,
  diskShort,
  loadable,
}: Pick<SubmitProps, "option" | "estimating" | "diskShort"> & { loadable: boolean }) {
  if (diskShort > 0) return <VerdictLabel verdict="does_not_fit">does not fit on the disk</VerdictLabel>;
  if (!loadable) return <VerdictLabel verdict="does_not_fit">cannot be loaded here</VerdictLabel>;
  if (option !== undefined) return <VerdictLabel verdict={option.verdict}>{verdictLabel(option)}</VerdictLabel>;
  return (
    <VerdictLabel verdict="unknown">
      {estimating ? "its memory is still being worked out" : "fit not known"}
    </VerdictLabel>
  );
}

/** "fits, 21.9 GB left", on the device that gave the verdict. */
function verdictLabel({ need, fits, verdict }: PlannedOption): string {
  const fit = fits.find((candidate) => candidate.verdict === verdict);
  if (fit === undefined || fit.free === null || need.required === null) return "fit not known";
  const left = fit.free - need.required;
  if (left < 0) return `${VERDICT_LABEL[verdict]}, ${need.partial ? "at least " : ""}${formatBytes(-left)} short`;
  const where = fit.device === "cpu" && fits.length > 1 ? " in system memory" : "";
  const word = verdict === "unknown" ? "may fit" : VERDICT_LABEL[verdict];
  return `${word}${where}, ${need.partial ? "at most " : ""}${formatBytes(left)} left`;
}
