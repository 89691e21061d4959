import { useState } from "react";
import { putSettings } from "../../api/system";
import { toastDone, toastProblem } from "../../lib/toast";
import { useSystemStore } from "../../stores/systemStore";
import type { SettingsChange, SettingsView } from "../../types/model";

export interface SectionProps {
  settings: SettingsView;
  onSaved: () => void;
}

/** Saves a change and refreshes what depends on it; resolves to whether it was accepted. */
export function useSave(onSaved: () => void) {
  const refresh = useSystemStore((state) => state.refresh);
  const [busy, setBusy] = useState(false);
  async function save(change: SettingsChange, done: string): Promise<boolean> {
    setBusy(true);
    try {
      await putSettings(change);
      toastDone(done);
      onSaved();
      await refresh();
      return true;
    } catch (error) {
      toastProblem("The settings were not changed", error);
      return false;
    } finally {
      setBusy(false);
    }
  }
  return { busy, save };
}
