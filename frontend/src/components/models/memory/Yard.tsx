import { Skeleton, Text } from "@mantine/core";
import { Clock, Cpu, HardDrive, MemoryStick } from "lucide-react";
import { useMemo } from "react";
import { useConn } from "../../../hooks/useModels";
import { formatBytes } from "../../../lib/bytes";
import { verdictFor } from "../../../lib/fit";
import { type Block, type Place, placesOf, wantedIn } from "../../../lib/yard";
import type { Ghost } from "../../../stores/ghostStore";
import { useSystemStore } from "../../../stores/systemStore";
import { DeviceBar } from "../../common/Bar";
import { LastHeard } from "../../common/LastHeard";
import { VerdictLabel } from "../../common/VerdictLabel";
import classes from "./Yard.module.css";

/** Every place where bytes live, to scale, with the ghost of a model laid over it. */
export function Yard({ ghost, label }: { ghost: Ghost | null; label: string }) {
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  const error = useSystemStore((state) => state.error);
  const places = useMemo(() => (system === null ? [] : placesOf(system, loaded)), [system, loaded]);

  if (system === null) {
    return error === null ? (
      <YardFallback />
    ) : (
      <Text c="dimmed">Memory and disk information is unavailable: {error.message}</Text>
    );
  }
  return (
    <div className={classes.yard} role="group" aria-label={label}>
      {places.map((place) => (
        <PlaceRow key={place.key} place={place} ghost={ghost} />
      ))}
      <Legend ours={places.some((place) => place.blocks.length > 0)} />
    </div>
  );
}

/** As high as a machine with one memory and one disk, so that what stands below does not move. */
function YardFallback() {
  return (
    <div className={classes.yard} aria-label="Loading memory and disk" role="status">
      {["memory", "disk"].map((place) => (
        <div key={place} className={classes.row}>
          <Skeleton h={34} maw={160} />
          <div className={classes.lane}>
            <Skeleton h="100%" />
          </div>
          <Skeleton h={18} w={140} ml="auto" />
        </div>
      ))}
      <Skeleton h={18} maw={280} />
    </div>
  );
}

function Legend({ ours }: { ours: boolean }) {
  return (
    <ul className={classes.legend} aria-label="Legend">
      <li>
        <span className={classes.others} /> used by others
      </li>
      {ours && (
        <li>
          <span className={classes.block} data-quantization="none" /> used by Modelyard
        </li>
      )}
      <li>
        <span className={classes.free} /> free
      </li>
    </ul>
  );
}

export const PLACE_ICON = { gpu: Cpu, memory: MemoryStick, disk: HardDrive } as const;

function PlaceRow({ place, ghost }: { place: Place; ghost: Ghost | null }) {
  const Icon = PLACE_ICON[place.kind];
  const wanted = ghostBytes(place, ghost);
  return (
    <div className={classes.row}>
      <div className={classes.label}>
        <Icon size={16} aria-hidden />
        <span className={classes.name}>{place.label}</span>
        <span className={classes.detail}>{place.detail}</span>
      </div>
      <PlaceBar place={place} ghost={ghost} wanted={wanted} />
      <div className={`${classes.numbers} num`}>
        <span>
          <LastHeard />
          <strong>{formatBytes(place.free)}</strong> free of {formatBytes(place.total)}
        </span>
        {ghost !== null && <GhostLabel place={place} ghost={ghost} wanted={wanted} />}
      </div>
      <LoadedHere blocks={place.blocks.filter((block) => block.loaded)} />
    </div>
  );
}

function LoadedHere({ blocks }: { blocks: Block[] }) {
  if (blocks.length === 0) return null;
  return (
    <ul className={`${classes.loaded} num`} aria-label="Loaded models">
      {blocks.map((block) => (
        <li key={block.key}>
          <span className={classes.block} data-quantization={block.quantization} />
          {block.label} {formatBytes(block.bytes)}
        </li>
      ))}
    </ul>
  );
}

/** Bytes the ghost would take here; undefined where it takes none. */
export function ghostBytes(place: Place, ghost: Ghost | null): number | null | undefined {
  if (ghost === null) return undefined;
  const bytes = wantedIn(place, ghost.wanted);
  return bytes === 0 ? undefined : bytes;
}

export function GhostLabel({
  place,
  ghost,
  wanted,
}: {
  place: Place;
  ghost: Ghost;
  wanted: number | null | undefined;
}) {
  // While the server is away it is no verdict any more, but what was so then.
  const stale = useConn() === "stale";
  if (wanted === undefined)
    return (
      <span className={classes.quiet}>
        {place.kind === "disk" ? "no more needed" : ghost.loaded === true ? "already loaded" : "none needed"}
      </span>
    );
  const verdict = verdictFor(wanted, place.free);
  return (
    <VerdictLabel verdict={stale ? "unknown" : verdict} icon={stale ? Clock : undefined}>
      {wanted === null
        ? "size unknown"
        : wanted <= place.free
          ? `${verdict === "fits" ? "fits" : "tight"}, ${formatBytes(place.free - wanted)} left`
          : `${formatBytes(wanted - place.free)} short`}
    </VerdictLabel>
  );
}

export function PlaceBar({
  place,
  ghost,
  wanted,
}: {
  place: Place;
  ghost: Ghost | null;
  wanted: number | null | undefined;
}) {
  const percent = (bytes: number) => `${(100 * bytes) / place.total}%`;
  const used = place.total - place.free;
  return (
    <div className={classes.lane}>
      <DeviceBar
        size="large"
        used={place.others}
        usedTitle={`${othersLabel(place)}: ${formatBytes(place.others)}`}
        total={place.total}
        parts={place.blocks.map(({ key, bytes, label, quantization }) => ({
          key,
          bytes,
          label,
          className: classes.block,
          title: `${label}: ${formatBytes(bytes)}`,
          data: { "data-quantization": quantization },
        }))}
        role="img"
        aria-label={describe(place)}
      />
      {ghost !== null && wanted != null && (
        <div
          className={classes.ghost}
          data-verdict={verdictFor(wanted, place.free)}
          data-testid={`ghost-${place.key}`}
          style={{
            left: percent(used),
            width: `min(${percent(wanted)}, calc(100% - ${percent(used)} + var(--overhang)))`,
          }}
        />
      )}
      {ghost !== null && wanted != null && wanted > place.free && (
        <div
          className={classes.overhang}
          data-torn={wanted - place.free > place.total * 0.04 || undefined}
          style={{ width: `min(${percent(wanted - place.free)}, var(--overhang))` }}
          aria-hidden
        />
      )}
    </div>
  );
}

function othersLabel(place: Place): string {
  return place.kind === "disk" && place.blocks.length === 0 ? "in use" : "used by others";
}

function describe(place: Place): string {
  const models = place.blocks.map((block: Block) => `${block.label} ${formatBytes(block.bytes)}`);
  return [
    `${place.label}, ${formatBytes(place.total)}`,
    `${formatBytes(place.others)} ${othersLabel(place)}`,
    ...models,
    `${formatBytes(place.free)} free`,
  ].join("; ");
}
