import classes from "./Histogram.module.css";

interface Props {
  caption: string;
  /** The same for ears. */
  label: string;
  counts: readonly number[];
  titleOf: (index: number, count: number) => string;
  /** The ends of the scale. */
  from: string;
  to: string;
}

/** How many there are in each bin; the bars are to scale with the largest. */
export function Histogram({ caption, label, counts, titleOf, from, to }: Props) {
  const largest = Math.max(...counts, 1);
  return (
    <figure className={classes.histogram}>
      <figcaption>{caption}</figcaption>
      <div className={classes.bars} role="img" aria-label={label}>
        {counts.map((count, index) => (
          <div
            key={index}
            data-empty={count === 0 || undefined}
            style={{ height: `${(100 * count) / largest}%` }}
            title={titleOf(index, count)}
          />
        ))}
      </div>
      <div className={`${classes.scale} num`} aria-hidden>
        <span>{from}</span>
        <span>{to}</span>
      </div>
    </figure>
  );
}
