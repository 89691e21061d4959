import { NumberInput, type NumberInputProps } from "@mantine/core";

interface Props extends Omit<NumberInputProps, "value" | "onChange"> {
  value: number | "";
  onChange: (value: number | "") => void;
  /** The server knows what to take where nothing is given. */
  optional?: boolean;
}

/** A number, or nothing yet; what is out of the server's range stays, so that it can say so. */
export function NumberField({ value, onChange, error, optional = false, ...rest }: Props) {
  return (
    <NumberInput
      {...rest}
      value={value}
      error={error ?? (value === "" && !optional ? "Give a number" : undefined)}
      onChange={(next) => onChange(typeof next === "number" ? next : "")}
      allowNegative={false}
      thousandSeparator=","
      clampBehavior="none"
      inputWrapperOrder={["label", "input", "description", "error"]}
    />
  );
}
