import { NumberInput, type NumberInputProps } from "@mantine/core";
import { useState } from "react";

interface Props extends Omit<NumberInputProps, "value" | "onChange"> {
  value: number | "";
  onChange: (value: number | "") => void;
  /** The server knows what to take where nothing is given. */
  optional?: boolean;
}

/** A number, or nothing yet; what is out of the server's range stays, so that it can say so. */
export function NumberField({ value, onChange, error, optional = false, ...rest }: Props) {
  // "0.00" on the way to "0.0003" is a number whose text must not be replaced while it is typed.
  const [typed, setTyped] = useState<number | string>(value);
  return (
    <NumberInput
      {...rest}
      value={numberOf(typed) === value ? typed : value}
      error={error ?? (value === "" && !optional ? "Enter a number" : undefined)}
      onChange={(next) => {
        setTyped(next);
        onChange(numberOf(next));
      }}
      thousandSeparator=","
      clampBehavior="none"
      inputWrapperOrder={["label", "input", "description", "error"]}
    />
  );
}

function numberOf(typed: number | string): number | "" {
  if (typeof typed === "number") return typed;
  return typed.trim() === "" || !Number.isFinite(Number(typed)) ? "" : Number(typed);
}
