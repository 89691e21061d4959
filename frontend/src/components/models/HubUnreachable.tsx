import { Button } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { putSettings } from "../../api/system";
import type { ProblemView } from "../../lib/problems";
import { toastProblem } from "../../lib/toast";
import { useSystemStore } from "../../stores/systemStore";
import { ProblemAlert } from "../common/ProblemAlert";

/** The Hub does not answer: which one was asked, why, and three ways on. */
export function HubUnreachable({ problem, onRetry }: { problem: ProblemView; onRetry: () => void }) {
  const hub = useSystemStore((state) => state.system?.hub);
  const refresh = useSystemStore((state) => state.refresh);
  const [busy, setBusy] = useState(false);

  async function switchToSamples() {
    setBusy(true);
    try {
      await putSettings({ endpoint: "builtin" });
      await refresh();
      onRetry();
    } catch (error) {
      toastProblem("The endpoint was not changed", error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <ProblemAlert
      title={hub === undefined ? "The Hub does not answer" : `The Hub at ${hub.endpoint} does not answer`}
      problem={problem}
      tone="warn"
    >
      {hub?.endpoint_source !== "builtin" && (
        <Button size="compact-sm" loading={busy} onClick={() => void switchToSamples()}>
          Use the built-in sample Hub
        </Button>
      )}
      <Button size="compact-sm" variant="default" onClick={onRetry}>
        Try again
      </Button>
      <Button size="compact-sm" variant="default" component={Link} to="/settings">
        Open settings
      </Button>
    </ProblemAlert>
  );
}
