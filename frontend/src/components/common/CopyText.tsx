import { VisuallyHidden } from "@mantine/core";
import { Check, Copy } from "lucide-react";
import { useClipboard } from "@mantine/hooks";
import classes from "./CopyText.module.css";

interface Props {
  text: string;
  label: string;
  /** Shown whole, over as many lines as it takes: a path, whose end tells it from others. */
  wrap?: boolean;
  /** Shown in place of the text. */
  children?: React.ReactNode;
}

/** A name, hash or path in monospace; a click copies it. */
export function CopyText({ text, label, wrap = false, children }: Props) {
  const clipboard = useClipboard({ timeout: 1500 });
  const Icon = clipboard.copied ? Check : Copy;
  return (
    <button
      type="button"
      className={`${classes.copy} mono`}
      onClick={() => clipboard.copy(text)}
      title={clipboard.copied ? "Copied" : "Click to copy"}
    >
      <span className={wrap ? classes.wrapped : "truncate"}>{children ?? text}</span>
      <VisuallyHidden>{clipboard.copied ? `, ${label} copied` : `, copy ${label}`}</VisuallyHidden>
      <Icon size={12} aria-hidden />
    </button>
  );
}
