import { Button, Group, Kbd, Text, Textarea } from "@mantine/core";
import { Send, Square } from "lucide-react";
import type { RefObject } from "react";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { isComplete, type Mode } from "../../../lib/trial";
import { canSend, type Trial, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model } from "../../../types/model";
import classes from "./Composer.module.css";

interface Props {
  model: Model;
  trial: Trial;
  mode: Mode;
  field: RefObject<HTMLTextAreaElement | null>;
}

/** The field that is written in, and the button that sends or stops. */
export function Composer({ model, trial, mode, field }: Props) {
  const away = useOfflineReason();
  const { send, setDraft, stop, edit } = usePlaygroundStore.getState();
  const submit = () => {
    if (away === undefined) void send(model.id, mode);
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (trial.running) stop(model.id);
        else submit();
      }}
    >
      {trial.editing !== null && (
        <Group justify="space-between" gap="xs" mb={4}>
          <Text size="sm">Sending replaces the message and what follows it.</Text>
          <Button size="compact-sm" variant="subtle" onClick={() => edit(model.id, null)}>
            Cancel
          </Button>
        </Group>
      )}
      <Textarea
        ref={field}
        aria-label={mode === "chat" ? "Message" : "Text to continue"}
        placeholder={mode === "chat" ? `Message ${model.name}` : "For example: The capital of France is"}
        autosize
        minRows={mode === "chat" ? 1 : 3}
        maxRows={8}
        value={trial.drafts[mode]}
        onChange={(event) => setDraft(model.id, mode, event.currentTarget.value)}
        onKeyDown={(event) => {
          // What an input method still composes is not finished by Enter.
          if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
          event.preventDefault();
          submit();
        }}
      />
      <Group gap="xs" mt="xs" justify="space-between" wrap="nowrap">
        <Text size="sm" c="dimmed" className={classes.keys}>
          {!isComplete(trial.settings) ? (
            "A number in the settings is missing"
          ) : (
            <span className={classes.wide}>
              <Kbd size="xs">Enter</Kbd> sends, <Kbd size="xs">Shift</Kbd> <Kbd size="xs">Enter</Kbd> breaks the line
            </span>
          )}
        </Text>
        <Button
          type="submit"
          variant={trial.running ? "default" : "filled"}
          disabled={!trial.running && (away !== undefined || !canSend(trial, mode))}
          title={trial.running ? undefined : away}
          leftSection={
            trial.running ? <Square size={14} fill="currentColor" aria-hidden /> : <Send size={14} aria-hidden />
          }
        >
          {trial.running ? "Stop" : mode === "chat" ? "Send" : "Generate"}
        </Button>
      </Group>
    </form>
  );
}
