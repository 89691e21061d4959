import { Checkbox, Text } from "@mantine/core";
import { useMemo, useState } from "react";
import { getSettings } from "../../../api/system";
import { useMemoryPlan } from "../../../hooks/useMemoryPlan";
import { useModelList } from "../../../hooks/useModels";
import { useResource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import { isActive, STATUS_LABEL } from "../../../lib/labels";
import { placesOf, type Wanted, wantedIn } from "../../../lib/yard";
import { useSystemStore } from "../../../stores/systemStore";
import type { MemoryOption, Model, ModelInfo, Quantization } from "../../../types/model";
import { MemoryChart } from "../memory/MemoryChart";
import { ModelPreview } from "./ModelPreview";
import { RoughMemory } from "../memory/RoughMemory";
import { Yard } from "../memory/Yard";
import type { ChosenProps } from "../ModelDownloadForm";
import { AdapterBase, lacksBase, withBase } from "./AdapterBase";
import { obstacleOf, needsConsent } from "./obstacle";
import { suggest, roughFits } from "./suggestPrecision";
import { Submit } from "./DownloadButton";
import { GgufDownload } from "./GgufDownload";

export function Chosen({ info: chosen, revision, onRecheck, onDone }: ChosenProps) {
  const [picked, setPicked] = useState<Quantization | null>(null);
  const [keepOriginal, setKeepOriginal] = useState(true);
  const [allowPickle, setAllowPickle] = useState(false);
  const [wantsBase, setWantsBase] = useState(true);
  const fetchesBase = wantsBase && lacksBase(chosen);
  const info = fetchesBase ? withBase(chosen) : chosen;
  // An adapter is kept as it is: what is chosen is the precision of the base that comes with it.
  const fixed = info.adapter !== null && !fetchesBase;
  const obstacle = obstacleOf(info, allowPickle, fetchesBase);
  const loadable = info.support.level !== "unsupported";
  const onlyGguf = obstacle === "nothing" && info.gguf_files.length > 0;
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
  const quantization = fixed ? "none" : (picked ?? suggested);
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
      <ModelPreview info={chosen} revision={revision} estimate={plan.estimate} onRecheck={onRecheck} />
      {info.gguf_files.length > 0 && obstacle !== "locked" && (
        <GgufDownload info={info} revision={revision} onDone={onDone} />
      )}
      {info.adapter !== null && <AdapterBase adapter={info.adapter} checked={wantsBase} onChange={setWantsBase} />}
      {needsConsent(info) && (
        <Checkbox
          checked={allowPickle}
          onChange={(event) => setAllowPickle(event.currentTarget.checked)}
          label="Accept pickle weights from this author"
          description="They are loaded without running any code in them."
        />
      )}
      {obstacle === "locked" && (
        <div>
          {rough !== undefined && <RoughMemory {...rough} />}
          <Text size="sm" c="dimmed">
            Exact memory is available after you get access.
          </Text>
        </div>
      )}
      {askable && (loadable || plan.loading || figures) && (
        <MemoryChart
          title={info.adapter === null ? "Precision" : "Precision of the base, with the adapter"}
          plan={plan}
          selected={quantization}
          rough={rough}
          marks={
            info.adapter !== null ? {} : Object.fromEntries([...rows].map(([name, row]) => [name, installedLabel(row)]))
          }
          filesOf={({ option, quantization }) =>
            option.available || quantization === "none" ? formatFiles(option, info, keepOriginal) : undefined
          }
          onPick={loadable && !fixed ? setPicked : undefined}
        />
      )}
      {option !== undefined && (
        <Yard
          label="Memory and disk after the download"
          ghost={{ label: info.model_id, quantization: option.quantization, wanted }}
        />
      )}
      {quantization !== null && quantization !== "none" && (
        <Checkbox
          checked={keepOriginal}
          onChange={(event) => setKeepOriginal(event.currentTarget.checked)}
          label="Keep the original files"
          description="Another precision can then be made without a second download."
        />
      )}
      {!onlyGguf && (
        <Submit
          info={info}
          option={option}
          dtype={plan.estimate?.dtype ?? info.dtype}
          estimating={plan.loading}
          diskShort={diskShort}
          obstacle={obstacle}
          row={quantization === null ? undefined : rows.get(info.adapter === null ? quantization : "none")}
          request={
            quantization === null
              ? null
              : {
                  model_id: info.model_id,
                  revision,
                  quantization,
                  keep_original: keepOriginal,
                  allow_pickle: allowPickle,
                  gguf_file: null,
                  with_base: fetchesBase,
                }
          }
          onRecheck={onRecheck}
          onDone={onDone}
        />
      )}
    </>
  );
}

/** "Downloads 26.7 MB · 39.7 MB on disk after (13.0 MB without the original)". */
function formatFiles(option: MemoryOption, info: ModelInfo, keepOriginal: boolean): string {
  const download = info.missing_bytes === 0 ? "Nothing to download" : `Downloads ${formatBytes(info.missing_bytes)}`;
  if (option.quantization === "none") return `${download} · ${formatBytes(info.size_bytes)} on disk after`;
  if (option.disk_bytes === null) return `${download} · disk use unknown`;
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
  return status === "ready" ? "installed" : STATUS_LABEL[status].toLowerCase();
}

/** Bytes the fullest disk lacks for this; 0 when there is room. */
function useDiskShort(wanted: Wanted): number {
  const system = useSystemStore((state) => state.system);
  const disks = system === null ? [] : placesOf(system, []).filter((place) => place.kind === "disk");
  return Math.max(0, ...disks.map((disk) => (wantedIn(disk, wanted) ?? 0) - disk.free));
}
