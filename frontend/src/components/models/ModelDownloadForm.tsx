import {
  Anchor,
  Autocomplete,
  Button,
  Checkbox,
  Group,
  Loader,
  Skeleton,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useState } from "react";
import { Link } from "react-router";
import { ApiError } from "../../api/client";
import { getModelInfo, searchHub } from "../../api/models";
import { getSettings } from "../../api/system";
import { type PlannedOption, useMemoryPlan } from "../../hooks/useMemoryPlan";
import { useResource } from "../../hooks/useResource";
import { formatBytes } from "../../lib/bytes";
import { hitFacts, isGated } from "../../lib/hub";
import { type ModelReference, parseModelReference } from "../../lib/modelId";
import { type ProblemView, toProblem } from "../../lib/problems";
import { VERDICT_WORD } from "../../lib/words";
import { placesOf, type Wanted, wantedIn } from "../../lib/yard";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import type { Model, ModelInfo, Quantization, SearchItem } from "../../types/model";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { FitHint } from "./FitHint";
import { HubUnreachable } from "./HubUnreachable";
import { MemoryChart } from "./MemoryChart";
import classes from "./ModelDownloadForm.module.css";
import { ModelPreview } from "./ModelPreview";
import { QuantBadge } from "./QuantBadge";
import { VerdictWords, Yard } from "./Yard";

const SEARCH_DELAY_MS = 250;

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

      {info.loading && <Skeleton h={168} role="status" aria-label="Asking the Hub" />}
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
        error={
          invalid ? "Write it as owner/name, as a bare name such as gpt2, or paste the address of a model page." : null
        }
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
            The search is not available: {search.problem.message} A full name still works.
          </Text>
        ))}
      {search.data?.length === 0 && query !== "" && (
        <Text size="xs" c="dimmed">
          The Hub finds nothing for “{query}”. A full name still works.
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
  const runnable = info.support.level !== "unsupported" || onlyPickle(info);
  const longest = info.dimensions.max_position_embeddings ?? null;
  const plan = useMemoryPlan(runnable ? { model_id: info.model_id, revision: info.commit, longest } : null);
  const settings = useResource("settings", getSettings);
  const quantization = picked ?? suggest(plan.options, settings.data?.defaults.quantization ?? null);
  const option = plan.options.find((candidate) => candidate.quantization === quantization);
  const wanted: Wanted = {
    memory: option?.need.required ?? null,
    cache: info.missing_bytes,
    artifact: option === undefined || quantization === "none" ? 0 : (option.option.disk_bytes ?? 0),
  };
  const diskShort = useDiskShort(wanted);

  return (
    <>
      <ModelPreview info={info} revision={revision} />
      {onlyPickle(info) && (
        <Checkbox
          checked={allowPickle}
          onChange={(event) => setAllowPickle(event.currentTarget.checked)}
          label="Accept pickle weights from this author"
          description="The repository has no safetensors. The weights are read without running code in them."
        />
      )}
      {runnable && <MemoryChart title="Precision" plan={plan} selected={quantization} onPick={setPicked} />}
      {option !== undefined && (
        <Yard label="Where it would go" ghost={{ label: info.model_id, quantization, wanted }} />
      )}
      {quantization !== "none" && (
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
        dtype={plan.estimate?.dtype ?? null}
        diskShort={diskShort}
        blocked={info.support.level === "unsupported" && !(onlyPickle(info) && allowPickle)}
        request={{
          model_id: info.model_id,
          revision,
          quantization,
          keep_original: keepOriginal,
          allow_pickle: allowPickle,
        }}
        onRecheck={onRecheck}
        onDone={onDone}
      />
    </>
  );
}

/** The only obstacle is the file format, which a person may accept. */
function onlyPickle(info: ModelInfo): boolean {
  const { level, reasons } = info.support;
  return level === "unsupported" && reasons.length > 0 && reasons.every(({ code }) => code === "unsafe_weights");
}

/** What the settings prefer, where it can be had; else the most precise that fits somewhere, or full precision. */
function suggest(options: PlannedOption[], preferred: Quantization | null): Quantization {
  const canBeHad = options.some(({ option, quantization }) => quantization === preferred && option.available);
  if (preferred !== null && canBeHad) return preferred;
  const order: Quantization[] = ["none", "8bit", "4bit"];
  const fitting = order.find((name) =>
    options.some(
      ({ option, quantization, verdict }) =>
        quantization === name && option.available && (verdict === "fits" || verdict === "tight"),
    ),
  );
  return fitting ?? "none";
}

/** Bytes the fullest disk lacks for this; 0 when there is room. */
function useDiskShort(wanted: Wanted): number {
  const system = useSystemStore((state) => state.system);
  const disks = system === null ? [] : placesOf(system, []).filter((place) => place.kind === "disk");
  return Math.max(0, ...disks.map((disk) => (wantedIn(disk, wanted) ?? 0) - disk.free));
}

interface SubmitProps {
  info: ModelInfo;
  /** The chosen precision; not known while its memory is not. */
  option: PlannedOption | undefined;
  /** What full precision is stored in. */
  dtype: string | null;
  /** Bytes missing on the disk; 0 when there is room. */
  diskShort: number;
  blocked: boolean;
  request: Parameters<ReturnType<typeof useModelsStore.getState>["downloadModel"]>[0];
  onRecheck: () => void;
  onDone: (model: Model) => void;
}

function Submit({ info, option, dtype, diskShort, blocked, request, onRecheck, onDone }: SubmitProps) {
  const downloadModel = useModelsStore((state) => state.downloadModel);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; existing: string | null } | null>(null);

  async function submit() {
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

  const locked = info.access === "needs_acceptance" || info.access === "no_token" || info.access === "token_invalid";
  return (
    <Stack gap="sm" className={classes.actions}>
      {diskShort > 0 && (
        <Text size="sm" className={classes.short}>
          The disk lacks {formatBytes(diskShort)} for this.{" "}
          <Anchor component={Link} to="/models?sort=disk" fz="inherit">
            Show the largest models
          </Anchor>
        </Text>
      )}
      {failure !== null && (
        <ProblemAlert title="The download did not start" problem={failure.problem}>
          {failure.existing !== null && (
            <Button size="compact-sm" variant="default" component={Link} to={`/models/${failure.existing}`}>
              Show it
            </Button>
          )}
        </ProblemAlert>
      )}
      <Group gap="xs">
        {option !== undefined && <Choice option={option} dtype={dtype} />}
        <Group gap="xs" ml="auto">
          {locked ? (
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
          ) : (
            <Button loading={busy} disabled={blocked || diskShort > 0} onClick={() => void submit()}>
              {option?.verdict === "does_not_fit" ? "Download anyway" : "Download"}
              {info.missing_bytes > 0 && ` ${formatBytes(info.missing_bytes)}`}
            </Button>
          )}
        </Group>
      </Group>
    </Stack>
  );
}

/** What the button is about to fetch, as its options may be out of sight: the precision, and whether that fits. */
function Choice({ option, dtype }: { option: PlannedOption; dtype: string | null }) {
  const { quantization, verdict } = option;
  return (
    <span className={`${classes.choice} num`}>
      <QuantBadge quantization={quantization} dtype={quantization === "none" ? dtype : null} />
      <VerdictWords verdict={verdict}>{verdictWords(option)}</VerdictWords>
    </span>
  );
}

/** "fits, 21.9 GB left", on the device that gave the verdict. */
function verdictWords({ need, fits, verdict }: PlannedOption): string {
  const fit = fits.find((candidate) => candidate.verdict === verdict);
  if (fit === undefined || fit.free === null || need.required === null) return "fit not known";
  const left = fit.free - need.required;
  if (left < 0) return `${VERDICT_WORD[verdict]}, ${formatBytes(-left)} short`;
  const onlyMemory = fit.device === "cpu" && fits.length > 1;
  return `${VERDICT_WORD[verdict]}${onlyMemory ? " in system memory" : ""}, ${formatBytes(left)} left`;
}
