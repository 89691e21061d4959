import { Stack, Title } from "@mantine/core";
import { getSettings } from "../../api/system";
import { useResource } from "../../hooks/useResource";
import { useTitle } from "../../hooks/useTitle";
import { useSystemStore } from "../../stores/systemStore";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import { SystemPending } from "../common/SystemPending";
import { AddLocal } from "../models/local/AddLocal";
import { About, Storage } from "../settings/About";
import { DownloadSettings } from "../settings/DownloadSettings";
import { HubSettings } from "../settings/HubSettings";
import { LoadSettings } from "../settings/LoadSettings";
import classes from "../settings/settings.module.css";
import { TokenSettings } from "../settings/TokenSettings";

export default function SettingsPanel() {
  useTitle("Settings");
  const settings = useResource("settings", getSettings, "settings");
  const system = useSystemStore((state) => state.system);
  return (
    <div className={classes.page}>
      <Title order={1} mb="md" className={classes.title}>
        Settings
      </Title>
      <Stack gap="md">
        {settings.loading && settings.data === null && <Placeholder h={320} label="Loading settings" />}
        {settings.problem !== null && (
          <ProblemAlert title="Could not load the settings" problem={settings.problem}>
            <TryAgain onClick={settings.reload} />
          </ProblemAlert>
        )}
        {settings.data !== null && (
          <>
            <HubSettings settings={settings.data} onSaved={settings.reload} />
            <TokenSettings settings={settings.data} onSaved={settings.reload} />
            <DownloadSettings settings={settings.data} onSaved={settings.reload} />
            <LoadSettings settings={settings.data} onSaved={settings.reload} />
          </>
        )}
        {system === null ? <SystemPending height={200} label="Loading storage" /> : <Storage system={system} />}
        {settings.data !== null && (
          <Section label="Local models">
            <AddLocal />
          </Section>
        )}
        {system !== null && <About system={system} />}
      </Stack>
    </div>
  );
}
