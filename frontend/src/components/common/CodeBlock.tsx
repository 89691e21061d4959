import classes from "./CodeBlock.module.css";

interface Props extends React.ComponentProps<"pre"> {
  label: string;
}

/** Code or output as it is, in a frame that the keyboard can scroll. */
export function CodeBlock({ label, className = "", ...pre }: Props) {
  return <pre {...pre} className={`${classes.code} ${className}`} tabIndex={0} role="group" aria-label={label} />;
}
