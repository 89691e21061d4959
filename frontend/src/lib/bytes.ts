/** Figures as people read them. GB = 10^9 bytes everywhere, as disks and the Hub count. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** Three significant digits at most, never more precise than a byte: 1.5 GB, 497 MB, 12 kB, 0 B. */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes == null || !Number.isFinite(bytes)) return "unknown";
  const sign = bytes < 0 ? "−" : "";
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${sign}${significant(value, unit === 0)} ${UNITS[unit] ?? ""}`;
}

function significant(value: number, whole: boolean): string {
  if (whole || value >= 99.95) return String(Math.round(value));
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** What a row takes on the disk; what it shares with another row is counted there, and named apart. */
export function formatDisk({ disk_bytes, shared_bytes }: { disk_bytes: number; shared_bytes: number }): string {
  if (shared_bytes === 0) return formatBytes(disk_bytes);
  return `${formatBytes(disk_bytes - shared_bytes)} + ${formatBytes(shared_bytes)} shared`;
}

export function formatRate(bytesPerSecond: number | null | undefined): string {
  return bytesPerSecond == null ? "" : `${formatBytes(bytesPerSecond)}/s`;
}

/** 596 M, 1.24 B, 70.6 B; parameters are counted, so small models show their whole number. */
export function formatCount(count: number | null | undefined): string {
  if (count == null) return "unknown";
  if (count < 10_000) return count.toLocaleString("en");
  for (const [scale, unit] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    if (count >= scale * 0.9995) return `${significant(count / scale, false)} ${unit}`;
  }
  return String(count);
}

/** 8 s, 3 min, 1 h 20 min; null means the rate is not known yet. */
export function formatDuration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} days`;
}

/** 0.80 s, 12 s, 3 min: what took a known time, which may be short. */
export function formatSeconds(seconds: number): string {
  return seconds < 9.95 ? `${seconds.toFixed(2)} s` : formatDuration(seconds);
}

/** Share of a known total between 0 and 1, or null when there is no total to compare with. */
export function fraction(done: number | null | undefined, total: number | null | undefined): number | null {
  if (done == null || total == null || total <= 0) return null;
  return Math.min(1, Math.max(0, done / total));
}
