import { CloseButton, TextInput, type TextInputProps } from "@mantine/core";
import { Search } from "lucide-react";

interface Props extends Pick<TextInputProps, "ref" | "className" | "placeholder" | "spellCheck" | "autoCapitalize"> {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

/** A field to search by, with a button that empties it. */
export function SearchField({ label, value, onChange, ...props }: Props) {
  return (
    <TextInput
      aria-label={label}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      leftSection={<Search size={16} aria-hidden />}
      rightSection={
        value === "" ? null : <CloseButton size="sm" aria-label="Clear the search" onClick={() => onChange("")} />
      }
      {...props}
    />
  );
}
