import { Slider } from "@mantine/core";
import classes from "./SteppedSlider.module.css";

interface Props {
  label: string;
  /** One of the stops, or what lies between two. */
  value: number;
  stops: number[];
  words: (value: number) => string;
  onChange: (value: number) => void;
}

/** A slider over given values, each one step apart however far they are; the figure stands above it. */
export function SteppedSlider({ label, value, stops, words, onChange }: Props) {
  const index = stops.findIndex((stop) => stop >= value);
  const at = (position: number) => stops[position] ?? value;
  return (
    <div className={classes.slider}>
      <div className={`${classes.head} num`} aria-hidden>
        <span>{label}</span>
        <strong>{words(value)}</strong>
      </div>
      <Slider
        min={0}
        max={Math.max(1, stops.length - 1)}
        step={1}
        value={index === -1 ? stops.length - 1 : index}
        onChange={(position) => onChange(at(position))}
        label={null}
        size={4}
        thumbSize={18}
        disabled={stops.length < 2}
        thumbLabel={label}
        thumbValueText={(position) => words(at(position))}
      />
    </div>
  );
}
