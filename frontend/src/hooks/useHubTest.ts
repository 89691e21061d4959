import { useState } from "react";
import { testHub } from "../api/system";
import { toastProblem } from "../lib/toast";
import { useSystemStore } from "../stores/systemStore";
import type { HubAnswer, HubAttempt } from "../types/model";

/** Asks a Hub now, with what is typed and not saved. `answer` is null until it came. */
export function useHubTest() {
  const refresh = useSystemStore((state) => state.refresh);
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState<HubAnswer | null>(null);
  async function test(attempt: HubAttempt): Promise<void> {
    setBusy(true);
    setAnswer(null);
    try {
      setAnswer(await testHub(attempt));
      await refresh();
    } catch (error) {
      toastProblem("Could not ask the Hub", error);
    } finally {
      setBusy(false);
    }
  }
  /** What was asked about is not what is typed any more. */
  const forget = () => setAnswer(null);
  return { busy, answer, test, forget };
}
