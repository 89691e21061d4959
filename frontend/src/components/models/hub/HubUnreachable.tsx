import { Button } from "@mantine/core";
import { useEffect, useEffectEvent, useRef, useState } from "react";
import { Link } from "react-router";
import { putSettings } from "../../../api/system";
import { useHubTest } from "../../../hooks/useHubTest";
import { useHasSamples } from "../../../hooks/useTorchReason";
import type { ProblemView } from "../../../lib/problems";
import { toastProblem } from "../../../lib/toast";
import { useSystemStore } from "../../../stores/systemStore";
import { ProblemAlert } from "../../common/ProblemAlert";

interface Props {
  problem: ProblemView;
  /** Asks again for what the Hub did not give; left out where whether it answers is all there is to know. */
  onRetry?: () => void;
}

/** The Hub does not answer: which one was asked, why, and three ways on. It goes on by itself once the Hub answers. */
export function HubUnreachable({ problem, onRetry }: Props) {
  const hub = useSystemStore((state) => state.system?.hub);
  const refresh = useSystemStore((state) => state.refresh);
  const hasSamples = useHasSamples();
  const [busy, setBusy] = useState(false);
  const { busy: testing, test } = useHubTest();
  const reachable = hub?.reachable;
  const wasReachable = useRef(reachable);
  const again = useEffectEvent(() => onRetry?.());

  useEffect(() => {
    if (reachable === true && wasReachable.current === false) again();
    wasReachable.current = reachable;
  }, [reachable]);

  async function switchToSamples() {
    setBusy(true);
    try {
      await putSettings({ endpoint: "builtin" });
      await refresh();
      onRetry?.();
    } catch (error) {
      toastProblem("The endpoint was not changed", error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <ProblemAlert
      title={hub === undefined ? "The Hub does not answer" : `The Hub at ${hub.endpoint} does not answer`}
      problem={{ ...problem, message: withoutAddress(problem.message, hub?.endpoint) }}
      tone="warn"
    >
      {hub?.endpoint_source !== "builtin" && hasSamples && (
        <Button size="compact-sm" disabled={busy} onClick={() => void switchToSamples()}>
          {busy ? "Switching to the built-in sample Hub…" : "Use the built-in sample Hub"}
        </Button>
      )}
      <Button
        size="compact-sm"
        variant="default"
        disabled={testing}
        onClick={() => {
          onRetry?.();
          void test({});
        }}
      >
        {testing ? "Testing the Hub…" : "Try again"}
      </Button>
      <Button size="compact-sm" variant="default" component={Link} to="/settings">
        Open settings
      </Button>
    </ProblemAlert>
  );
}

/** The title has named the Hub already. */
function withoutAddress(message: string, endpoint: string | undefined): string {
  return endpoint !== undefined && message.startsWith(`${endpoint} `) ? `It${message.slice(endpoint.length)}` : message;
}
