import { Stack, Title } from "@mantine/core";
import { getSettings } from "../../api/system";
import { useResource } from "../../hooks/useResource";
import { useTitle } from "../../hooks/useTitle";
import type { SettingsSection } from "../../lib/settingsSections";
import { useSystemStore } from "../../stores/systemStore";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import { SystemPending } from "../common/SystemPending";
import { AddLocal } from "../models/local/AddLocal";
import { About, Storage } from "../settings/About";
import { ApiSection } from "../settings/ApiSection";
import { DownloadSettings } from "../settings/DownloadSettings";
import { HubSettings } from "../settings/HubSettings";
import { LoadSettings } from "../settings/LoadSettings";
import { NotificationSettings } from "../settings/NotificationSettings";
import { SessionSection } from "../settings/SessionSection";
import classes from "../settings/settings.module.css";
import { SettingsIndex } from "../settings/SettingsIndex";
import { TokenSettings } from "../settings/TokenSettings";

export default function SettingsPanel() {
  useTitle("Settings");
  const settings = useResource("settings", getSettings, "settings");
  const system = useSystemStore((state) => state.system);
  const there = settings.data !== null;
  const absent = new Set<SettingsSection>([
    ...(there ? [] : (["hub", "token", "downloads", "loading", "local"] as const)),
    ...(system === null ? (["storage", "about"] as const) : []),
    ...(system?.needs_key === true ? [] : (["session"] as const)),
  ]);
  return (
    <div className={classes.page}>
      <Title order={1} mb="md" className={classes.title}>
        Settings
      </Title>
      {settings.loading && !there ? (
        <Placeholder h={320} label="Loading settings" />
      ) : (
        <div className={classes.columns}>
          <SettingsIndex absent={absent} />
          <Stack gap="md" className={classes.sections}>
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
            <NotificationSettings />
            {system === null ? <SystemPending height={200} label="Loading storage" /> : <Storage system={system} />}
            {there && (
              <Section label="Local models" id="local">
                <AddLocal />
              </Section>
            )}
            <ApiSection />
            {system?.needs_key === true && <SessionSection />}
            {system !== null && <About system={system} />}
          </Stack>
        </div>
      )}
    </div>
  );
}
