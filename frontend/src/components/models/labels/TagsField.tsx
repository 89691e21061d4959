import { Button, Group, TextInput } from "@mantine/core";
import { X } from "lucide-react";
import { useId, useRef, useState } from "react";
import { MAX_TAG_LENGTH, MAX_TAGS } from "../../../lib/labelLimits";
import classes from "./labels.module.css";

interface Props {
  tags: string[];
  /** Those in use elsewhere, to choose from while typing. */
  known: string[];
  onChange: (tags: string[]) => void;
}

/** Tags to add by Enter or a comma, each with a button that removes it. */
export function TagsField({ tags, known, onChange }: Props) {
  const [typed, setTyped] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const suggestions = useId();
  const full = tags.length >= MAX_TAGS;

  function add(text: string) {
    const more = text
      .split(",")
      .map((tag) => tag.trim())
      .filter((tag) => tag !== "");
    onChange([...new Set([...tags, ...more])].slice(0, MAX_TAGS));
    setTyped("");
  }

  function remove(tag: string) {
    onChange(tags.filter((other) => other !== tag));
    // The button that has the focus goes.
    field.current?.focus();
  }

  return (
    <div>
      <Group align="end" gap="xs" wrap="nowrap">
        <TextInput
          ref={field}
          flex={1}
          label="Tags"
          description={full ? `There are ${MAX_TAGS} tags, the most there can be` : "Press Enter to add a tag"}
          list={suggestions}
          maxLength={MAX_TAG_LENGTH}
          readOnly={full}
          value={typed}
          data-autofocus
          onChange={({ currentTarget: { value } }) => (value.endsWith(",") ? add(value) : setTyped(value))}
          onBlur={() => add(typed)}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            add(typed);
          }}
        />
        <Button variant="default" disabled={typed.trim() === ""} onClick={() => add(typed)}>
          Add
        </Button>
      </Group>
      <datalist id={suggestions}>
        {known
          .filter((tag) => !tags.includes(tag))
          .map((tag) => (
            <option key={tag} value={tag} />
          ))}
      </datalist>
      {tags.length > 0 && (
        <ul className={classes.tags} data-editable aria-label="Tags">
          {tags.map((tag) => (
            <li key={tag} className={classes.tag}>
              {tag}
              <button
                type="button"
                className={classes.remove}
                aria-label={`Remove the tag ${tag}`}
                onClick={() => remove(tag)}
              >
                <X size={12} aria-hidden />
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
