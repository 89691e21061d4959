import { Switch } from "@mantine/core";
import { Section } from "../common/Section";
import { type SectionProps, useSave } from "./useSave";

/** How models are loaded where nothing else is asked for. */
export function LoadSettings({ settings, onSaved }: SectionProps) {
  const { busy, save } = useSave(onSaved);
  return (
    <Section label="Loading" id="loading">
      <Switch
        label="Prefer the faster dtype"
        description="Load bfloat16 models in float32 where this server's processor is slower in bfloat16. It takes more memory; each model shows how much."
        checked={settings.prefer_fast_dtype}
        disabled={busy}
        onChange={(event) => void save({ prefer_fast_dtype: event.currentTarget.checked }, "The settings were saved")}
      />
    </Section>
  );
}
