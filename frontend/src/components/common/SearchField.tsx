import { CloseButton, TextInput, type TextInputProps } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { Search } from "lucide-react";

interface Props extends Pick<TextInputProps, "ref" | "className" | "placeholder" | "size"> {
  label: string;
  /** The key that leads here; named only where there is likely to be a keyboard. */
  hotkey?: string;
  value: string;
  onChange: (value: string) => void;
}

/** A field to search by, with a button that empties it. */
export function SearchField({ label, hotkey, placeholder, value, onChange, ...props }: Props) {
  const small = useMediaQuery("(max-width: 48em)", false, { getInitialValueInEffect: false });
  return (
    <TextInput
      aria-label={label}
      placeholder={hotkey === undefined || small ? placeholder : `${placeholder ?? ""}  ( ${hotkey} )`}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      leftSection={<Search size={16} aria-hidden />}
      rightSection={
        value === "" ? null : <CloseButton size="sm" aria-label="Clear the search" onClick={() => onChange("")} />
      }
      spellCheck={false}
      autoCapitalize="none"
      {...props}
    />
  );
}
