import classes from "./Bar.module.css";

interface ProgressBarProps {
  label: string;
  /** From 0 to 1. */
  share: number;
  /** The same in words, with the figures beside the bar. */
  valueText: string;
  /** How far it is, is not known yet: the bar has no value. */
  unknown?: boolean;
  tone?: "active" | "still" | "retrying";
}

/** How far work has come. */
export function ProgressBar({ label, share, valueText, unknown = false, tone = "active" }: ProgressBarProps) {
  return (
    <div
      className={classes.track}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={unknown ? undefined : Math.floor(share * 100)}
      aria-valuetext={valueText}
      data-tone={tone}
    >
      <div className={classes.fill} style={{ transform: `scaleX(${share})` }} />
    </div>
  );
}

/** What is taken of something, as a thin line under figures that say the same. */
export function ThinBar({ share }: { share: number }) {
  return (
    <div className={classes.track} data-thin aria-hidden>
      <div className={classes.fill} style={{ transform: `scaleX(${share})` }} />
    </div>
  );
}

export interface BarPart {
  key: string;
  bytes: number;
  /** The class that colours it. */
  className: string | undefined;
  title?: string;
  data?: Record<`data-${string}`, string | number>;
  /** Written on it. */
  label?: string;
}

interface MemoryBarProps extends Pick<React.ComponentProps<"div">, "role" | "aria-label" | "aria-hidden"> {
  size: "small" | "large";
  /** Bytes in use by others, drawn first. */
  used: number;
  usedTitle?: string;
  parts: BarPart[];
  /** Bytes of the device. */
  total: number;
  /** Bytes at which the bar ends; what is more than the device has is drawn, too. */
  end?: number;
}

/** A device's memory to scale: what is in use, and behind it the parts of what is asked about. */
export function DeviceBar({ size, used, usedTitle, parts, total, end = total, ...props }: MemoryBarProps) {
  const percent = (bytes: number) => `${Math.min(100, (100 * bytes) / end)}%`;
  const wanted = parts.reduce((sum, part) => sum + part.bytes, 0);
  return (
    <div className={classes.bar} data-size={size} data-over={used + wanted > total || undefined} {...props}>
      {used > 0 && <div className={classes.used} style={{ width: percent(used) }} title={usedTitle} />}
      {parts.map(({ key, bytes, className, title, data, label }) => (
        <div
          key={key}
          className={`${classes.part} ${className ?? ""}`}
          style={{ width: percent(bytes) }}
          title={title}
          {...data}
        >
          {label !== undefined && <span aria-hidden>{label}</span>}
        </div>
      ))}
    </div>
  );
}
