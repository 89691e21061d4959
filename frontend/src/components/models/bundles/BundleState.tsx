import { Anchor, Group, List, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { actOnBundle, type BundleAction, deleteBundle, partAddress } from "../../../api/bundles";
import { isAtWork, useBundle } from "../../../hooks/useBundle";
import { formatBytes, formatDuration, formatRate } from "../../../lib/bytes";
import { type ProblemView, toProblem } from "../../../lib/problems";
import type { Bundle } from "../../../types/bundle";
import { JobProgress } from "../../common/JobProgress";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";

const PHASES: Record<NonNullable<Bundle["progress"]>["phase"], string> = {
  waiting: "Waiting for a worker",
  starting: "Starting",
  hashing: "Hashing small files",
  writing: "Writing",
  reading: "Reading and verifying",
  finishing: "Adding the models",
};

/** An export or an import: how far it is, what can be done with it, and the files of one that is written. */
export function BundleState({ initial, onDeleted }: { initial: Bundle; onDeleted: () => void }) {
  const { bundle, set } = useBundle(initial);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function attempt(work: () => Promise<void>) {
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  const act = (action: BundleAction) => void attempt(async () => set(await actOnBundle(bundle.id, action)));
  const button = (label: string, onClick: () => void) => (
    <ServerButton size="xs" variant="default" disabled={busy} onClick={onClick}>
      {label}
    </ServerButton>
  );
  return (
    <Stack gap="xs">
      <Text size="sm" fw={600}>
        {bundle.name}, {formatBytes(bundle.size_bytes)}
      </Text>
      <Summary bundle={bundle} />
      {bundle.error !== null && (
        <ProblemAlert
          title={bundle.kind === "export" ? "The export stopped" : "The import stopped"}
          problem={{ ...bundle.error, hint: bundle.error.hint ?? null }}
        />
      )}
      {problem !== null && <ProblemAlert title="That did not work" problem={problem} />}
      <Group gap="xs">
        {isAtWork(bundle) && button("Pause", () => act("pause"))}
        {(bundle.status === "paused" || bundle.status === "failed") && button("Resume", () => act("resume"))}
        {isAtWork(bundle) && button("Cancel", () => act("cancel"))}
        {!isAtWork(bundle) &&
          button(
            bundle.kind === "export" ? "Delete the bundle" : "Remove from the list",
            () =>
              void attempt(async () => {
                await deleteBundle(bundle.id);
                onDeleted();
              }),
          )}
      </Group>
    </Stack>
  );
}

function Summary({ bundle }: { bundle: Bundle }) {
  if (bundle.status === "ready" && bundle.kind === "import")
    return <Text size="sm">Added {bundle.models.map(({ model_id }) => model_id).join(", ")}.</Text>;
  if (bundle.status === "ready") return <Parts bundle={bundle} />;
  if (bundle.status === "cancelled") return <Text size="sm">Cancelled.</Text>;
  const { progress } = bundle;
  if (progress === null) return null;
  const total = progress.bytes_total;
  const atWork = isAtWork(bundle);
  return (
    <JobProgress
      name={bundle.name}
      phase={atWork ? PHASES[progress.phase] : bundle.status === "paused" ? "Paused" : "Stopped"}
      share={total === null ? 0 : progress.bytes_done / Math.max(total, 1)}
      unknown={total === null}
      figures={[
        total === null ? "" : `${formatBytes(progress.bytes_done)} of ${formatBytes(total)}`,
        atWork ? formatRate(progress.bytes_per_second) : "",
        atWork && progress.eta_seconds !== null ? `${formatDuration(progress.eta_seconds)} left` : "",
      ].filter(Boolean)}
      tone={atWork ? "active" : "still"}
    />
  );
}

function Parts({ bundle }: { bundle: Bundle }) {
  return (
    <List size="sm" listStyleType="none" aria-label="Files of the bundle">
      {bundle.parts.map((part, index) => (
        <List.Item key={part.name}>
          <Anchor href={partAddress(bundle.id, index + 1)} download={part.name}>
            {part.name}
          </Anchor>{" "}
          <Text span size="sm" c="dimmed" className="num">
            {formatBytes(part.size_bytes)}
          </Text>
        </List.Item>
      ))}
    </List>
  );
}
