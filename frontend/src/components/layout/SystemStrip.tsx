import { useMemo } from "react";
import { formatBytes } from "../../lib/bytes";
import { type Place, placesOf } from "../../lib/yard";
import { useSystemStore } from "../../stores/systemStore";
import classes from "./SystemStrip.module.css";

/** What the machine has in use and left, on every page. */
export function SystemStrip() {
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  const places = useMemo(() => (system === null ? [] : placesOf(system, loaded)), [system, loaded]);
  if (system === null) return null;
  const models = new Set(loaded.map((item) => item.id)).size;
  return (
    <section className={`${classes.strip} num`} aria-label="This server">
      <dl>
        {places.map((place) => (
          <Line key={place.key} place={place} />
        ))}
        <div>
          <dt>Loaded</dt>
          <dd>{models === 0 ? "no model" : models === 1 ? "1 model" : `${models} models`}</dd>
        </div>
      </dl>
      <p>Version {system.version}</p>
    </section>
  );
}

function Line({ place }: { place: Place }) {
  const used = place.total - place.free;
  return (
    <div title={place.detail}>
      <dt>{place.kind === "memory" ? "Memory" : place.label}</dt>
      <dd>
        {place.kind === "disk"
          ? `${formatBytes(place.free)} left`
          : `${formatBytes(used)} of ${formatBytes(place.total)}`}
      </dd>
      <dd className={classes.track} aria-hidden>
        <span className={classes.fill} style={{ width: `${(100 * used) / place.total}%` }} />
      </dd>
    </div>
  );
}
