import type { LucideIcon } from "lucide-react";
import classes from "./Pill.module.css";

export type Tone = "good" | "active" | "warn" | "bad" | "neutral";

/** A status: an icon and a word in its colour. */
export function Pill({ icon: Icon, tone, children }: { icon: LucideIcon; tone: Tone; children: React.ReactNode }) {
  return (
    <span className={classes.pill} data-tone={tone}>
      <Icon size={14} aria-hidden />
      <span className="truncate">{children}</span>
    </span>
  );
}
