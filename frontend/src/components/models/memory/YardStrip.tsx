import { ActionIcon, Skeleton, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { ChevronDown, ChevronUp } from "lucide-react";
import { useMemo } from "react";
import { formatBytes } from "../../../lib/bytes";
import { cssHeightVariable } from "../../../lib/cssHeightVariable";
import { type Place, placesOf } from "../../../lib/yard";
import { type Ghost, useGhostStore } from "../../../stores/ghostStore";
import { useSystemStore } from "../../../stores/systemStore";
import { LastHeard } from "../../common/LastHeard";
import { ghostBytes, GhostLabel, PLACE_ICON, PlaceBar, Yard } from "./Yard";
import classes from "./YardStrip.module.css";

const height = cssHeightVariable("--y-yard-height");

/** Memory and disk of the machine in one line, with the model that is pointed at; the whole yard on demand. */
export function YardStrip() {
  const [opened, { toggle }] = useDisclosure(false);
  // Alone in following the pointer, so that pointing at models draws the bars and nothing else.
  const ghost = useGhostStore((state) => state.ghost);
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  const error = useSystemStore((state) => state.error);
  const places = useMemo(() => (system === null ? [] : placesOf(system, loaded)), [system, loaded]);
  const Chevron = opened ? ChevronUp : ChevronDown;
  return (
    <section ref={height} className={classes.panel} data-open={opened || undefined} aria-label="Memory and disk">
      <div className={classes.strip}>
        {system !== null ? (
          places.map((place) => <PlaceLine key={place.key} place={place} ghost={opened ? null : ghost} />)
        ) : error === null ? (
          <Skeleton h={16} role="status" aria-label="Loading memory and disk" />
        ) : (
          <Text c="dimmed" className="truncate">
            Memory and disk information is unavailable: {error.message}
          </Text>
        )}
        <ActionIcon
          ml="auto"
          aria-label={opened ? "Hide memory and disk" : "Show memory and disk"}
          aria-expanded={opened}
          onClick={toggle}
        >
          <Chevron size={16} aria-hidden />
        </ActionIcon>
      </div>
      {opened && (
        <div className={classes.open}>
          <Yard ghost={ghost} label="Memory and disk of this machine" />
        </div>
      )}
    </section>
  );
}

function PlaceLine({ place, ghost }: { place: Place; ghost: Ghost | null }) {
  const Icon = PLACE_ICON[place.kind];
  const wanted = ghostBytes(place, ghost);
  return (
    <div className={`${classes.place} num`} title={`${place.label}, ${place.detail}`}>
      <Icon size={16} aria-hidden />
      <span className={classes.name}>{place.label}</span>
      <div className={classes.bar}>
        <PlaceBar place={place} ghost={ghost} wanted={wanted} />
      </div>
      <span className={classes.numbers}>
        {ghost === null ? (
          <>
            <LastHeard />
            <strong>{formatBytes(place.free)}</strong> free
            <span className={classes.whole}> of {formatBytes(place.total)}</span>
          </>
        ) : (
          <GhostLabel place={place} ghost={ghost} wanted={wanted} />
        )}
      </span>
    </div>
  );
}
