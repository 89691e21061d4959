import { Button } from "@mantine/core";
import { useMemo } from "react";
import { useMatch } from "react-router";
import { formatBytes } from "../../lib/bytes";
import { type Place, placesOf } from "../../lib/yard";
import { useSystemStore } from "../../stores/systemStore";
import type { LoadedModel } from "../../types/model";
import { ThinBar } from "../common/Bar";
import { LastHeard } from "../common/LastHeard";
import classes from "./SystemStrip.module.css";

/** What the machine has free, on every page. */
export function SystemStrip() {
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  const places = useMemo(() => (system === null ? [] : placesOf(system, loaded)), [system, loaded]);
  const onList = useMatch("/models") !== null;
  if (system === null) return <Unread />;
  return (
    <section className={`${classes.strip} num`} aria-label="This server">
      <dl>
        {/* The list of models has them in a strip of its own. */}
        {!onList && places.map((place) => <Line key={place.key} place={place} />)}
        <div>
          <dt>Loaded</dt>
          <dd>
            <LastHeard />
            {loadedLabel(loaded)}
          </dd>
        </div>
      </dl>
      <p>Version {system.version}</p>
    </section>
  );
}

/** Nothing while it is being read: the page itself shows that it loads. */
function Unread() {
  const failed = useSystemStore((state) => state.error !== null);
  const { refresh } = useSystemStore.getState();
  if (!failed) return null;
  return (
    <section className={classes.strip} aria-label="This server">
      <div>System information is not available.</div>
      <Button size="compact-xs" variant="default" mt={8} onClick={() => void refresh()}>
        Try again
      </Button>
    </section>
  );
}

function loadedLabel(loaded: LoadedModel[] | null): string {
  if (loaded === null) return "unknown";
  const models = new Set(loaded.map((item) => item.id)).size;
  if (models === 0) return "no model";
  return models === 1 ? "1 model" : `${models} models`;
}

function Line({ place }: { place: Place }) {
  const used = place.total - place.free;
  return (
    <div title={`${formatBytes(place.free)} free of ${formatBytes(place.total)}; ${place.detail}`}>
      <dt>{place.kind === "memory" ? "Memory" : place.label}</dt>
      <dd>
        <LastHeard />
        {formatBytes(place.free)} free
      </dd>
      <dd className={classes.bar}>
        <ThinBar share={used / place.total} />
      </dd>
    </div>
  );
}
