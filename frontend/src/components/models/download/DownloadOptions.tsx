import { Checkbox, Text } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
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
import type { DiskUse } from "../memory/PrecisionTable";
import { HubCardFrame } from "./HubCard";
import { ModelContents, ModelPreview } from "./ModelPreview";
import { RoughMemory } from "../memory/RoughMemory";
import type { ChosenProps } from "../ModelDownloadForm";
import classes from "../ModelDownloadForm.module.css";
import { AdapterBase, lacksBase, withBase } from "./AdapterBase";
import { obstacleOf, needsConsent } from "./obstacle";
import { roughOptions, suggest } from "./suggestPrecision";
import { Submit } from "./DownloadButton";
import { GgufDownload } from "./GgufDownload";

/** What is known of the chosen model at the left, and at the right what a download of it may be. */
export function Chosen({ info: chosen, revision, onRecheck, onDone }: ChosenProps) {
  const [picked, setPicked] = useState<Quantization | null>(null);
  const [keepOriginal, setKeepOriginal] = useState(true);
  const [allowPickle, setAllowPickle] = useState(false);
  const [wantsBase, setWantsBase] = useState(true);
  const wide = useMediaQuery("(min-width: 75em)", true, { getInitialValueInEffect: false });
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
  const rough = useMemo(() => roughOptions(info, devices ?? []), [info, devices]);
  const options = plan.estimate === null ? rough : plan.options;
  const suggested =
    settings.loading || !askable
      ? null
      : suggest(
          options,
          settings.data?.defaults.quantization ?? null,
          new Set(info.adapter === null ? rows.keys() : []),
        );
  const quantization = fixed ? "none" : (picked ?? suggested);
  const option = options.find((candidate) => candidate.quantization === quantization);
  const artifact = quantization === "none" ? 0 : (option?.option.disk_bytes ?? 0);
  // A copy is made of the original, which goes only then.
  const { short: diskShort, free } = useDisks({ memory: null, cache: info.missing_bytes, artifact });
  const figures = options.some(({ need }) => need.total !== null);

  return (
    <>
      <div className={classes.columns}>
        <div className={classes.about}>
          <ModelPreview info={chosen} estimate={plan.estimate} onRecheck={onRecheck} />
          {wide && <HubCardFrame info={chosen} />}
        </div>
        <div className={classes.plan}>
          {info.gguf_files.length > 0 && obstacle !== "locked" && (
            <GgufDownload info={info} revision={revision} alone={onlyGguf} onDone={onDone} />
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
              {info.num_parameters !== null && info.already_quantized === null && (
                <RoughMemory parameters={info.num_parameters} dtype={info.dtype} />
              )}
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
              dtype={info.dtype}
              marks={
                info.adapter !== null
                  ? {}
                  : Object.fromEntries([...rows].map(([name, row]) => [name, installedLabel(row)]))
              }
              diskOf={({ option }) => diskUseOf(option, info, keepOriginal)}
              disks={free}
              onPick={loadable && !fixed ? setPicked : undefined}
            />
          )}
          {quantization !== null && !fixed && askable && loadable && (
            <Checkbox
              checked={keepOriginal || quantization === "none"}
              disabled={quantization === "none"}
              onChange={(event) => setKeepOriginal(event.currentTarget.checked)}
              label="Keep the original files"
              description="Another precision can then be made without a second download."
            />
          )}
          <ModelContents info={chosen} revision={revision} card={!wide} />
        </div>
      </div>
      {!onlyGguf && (
        <Submit
          info={info}
          verdict={option?.verdict}
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
                  allow_unsupported: !loadable,
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

/** What stands on the disk after the download; null where there is no such precision. */
function diskUseOf(option: MemoryOption, info: ModelInfo, keepOriginal: boolean): DiskUse | null {
  if (option.quantization === "none") return { bytes: info.size_bytes };
  if (!option.available) return null;
  if (option.disk_bytes === null) return { bytes: null };
  const both = info.size_bytes + option.disk_bytes;
  return keepOriginal
    ? { bytes: both, note: `on disk without the original ${formatBytes(option.disk_bytes)}` }
    : { bytes: option.disk_bytes, note: `on disk while it is made ${formatBytes(both)}` };
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

/** Bytes the fullest disk lacks for this, 0 when there is room; and what each has left, in words. */
function useDisks(wanted: Wanted): { short: number; free: string[] } {
  const system = useSystemStore((state) => state.system);
  const disks = system === null ? [] : placesOf(system, []).filter((place) => place.kind === "disk");
  const name = (detail: string) => (disks.length === 1 ? "Disk" : `Disk of ${detail}`);
  return {
    short: Math.max(0, ...disks.map((disk) => (wantedIn(disk, wanted) ?? 0) - disk.free)),
    free: disks.map(({ detail, free }) => `${name(detail)}: ${formatBytes(free)} free`),
  };
}
