import { Button, Group, Switch, Textarea } from "@mantine/core";
import { DEFAULTS, type Mode, type Settings } from "../../../lib/trial";
import { usePlaygroundStore } from "../../../stores/playgroundStore";
import { NumberField } from "../../common/NumberField";
import classes from "./SettingsFields.module.css";

interface Props {
  id: string;
  settings: Settings;
  mode: Mode;
}

/** How answers are drawn, and what is said before every chat. */
export function SettingsFields({ id, settings, mode }: Props) {
  const { setSettings } = usePlaygroundStore.getState();
  const change = (changes: Partial<Settings>) => setSettings(id, changes);
  return (
    <div className={classes.fields}>
      {mode === "chat" && (
        <Textarea
          className={classes.whole}
          label="System prompt"
          autosize
          minRows={1}
          maxRows={8}
          value={settings.system}
          onChange={(event) => change({ system: event.currentTarget.value })}
        />
      )}
      <NumberField
        label="Max tokens"
        min={1}
        max={10_000_000}
        allowDecimal={false}
        value={settings.maxTokens}
        onChange={(maxTokens) => change({ maxTokens })}
      />
      <NumberField
        label="Temperature"
        description="0: the most likely token"
        min={0}
        max={2}
        step={0.1}
        decimalScale={2}
        value={settings.temperature}
        onChange={(temperature) => change({ temperature })}
      />
      <NumberField
        label="Top p"
        description="Empty: model default"
        optional
        min={0}
        max={1}
        step={0.05}
        decimalScale={3}
        value={settings.topP}
        onChange={(topP) => change({ topP })}
      />
      <NumberField
        label="Seed"
        description={settings.temperature === 0 ? "No effect at temperature 0" : "Empty: random"}
        optional
        min={0}
        max={Number.MAX_SAFE_INTEGER}
        allowDecimal={false}
        value={settings.seed}
        onChange={(seed) => change({ seed })}
      />
      <Textarea
        className={classes.whole}
        label="Stop strings"
        description="One per line; \n is a line break"
        inputWrapperOrder={["label", "input", "description", "error"]}
        autosize
        minRows={1}
        maxRows={4}
        value={settings.stop}
        onChange={(event) => change({ stop: event.currentTarget.value })}
      />
      <Group className={classes.whole} justify="space-between" gap="xs">
        <Switch
          label="Token probabilities"
          checked={settings.logprobs}
          onChange={(event) => change({ logprobs: event.currentTarget.checked })}
        />
        <Button
          size="compact-sm"
          variant="subtle"
          onClick={() => change({ ...DEFAULTS, system: settings.system, clamps: settings.clamps })}
        >
          Reset
        </Button>
      </Group>
    </div>
  );
}
