import { Anchor, Button, Group, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { ApiError } from "../../../lib/apiError";
import { formatBytes } from "../../../lib/bytes";
import { modelPath } from "../../../lib/modelPath";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model, ModelInfo, Verdict } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";
import classes from "../ModelDownloadForm.module.css";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import type { Obstacle } from "./obstacle";

interface SubmitProps {
  info: ModelInfo;
  /** Whether the chosen precision fits; undefined while none is chosen. */
  verdict: Verdict | undefined;
  /** Bytes missing on the disk; 0 when there is room. */
  diskShort: number;
  obstacle: Obstacle;
  /** The model in this precision, where it is here or on its way. */
  row: Model | undefined;
  /** Null as long as no precision is chosen. */
  request: Parameters<ReturnType<typeof useModelsStore.getState>["downloadModel"]>[0] | null;
  onRecheck: () => void;
  onDone: (model: Model) => void;
}

export function Submit(props: SubmitProps) {
  const { info, verdict, diskShort, obstacle, row, request, onRecheck, onDone } = props;
  const downloadModel = useModelsStore((state) => state.downloadModel);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; existing: string | null } | null>(null);
  const loadable = info.support.level !== "unsupported";

  async function submit() {
    if (request === null) return;
    setBusy(true);
    setFailure(null);
    try {
      onDone(await downloadModel(request));
    } catch (error) {
      const id = error instanceof ApiError && error.code === "already_exists" ? error.problem.id : null;
      setFailure({ problem: toProblem(error), existing: typeof id === "string" ? id : null });
      setBusy(false);
    }
  }

  return (
    <Stack gap="sm" className={classes.actions}>
      {diskShort > 0 && row === undefined && (
        <Text size="sm" className={classes.short}>
          Not enough disk space: {formatBytes(diskShort)} more needed.{" "}
          <Anchor component={Link} to="/models?sort=disk" fz="inherit">
            Show the largest models
          </Anchor>
        </Text>
      )}
      {failure !== null && <Failure {...failure} />}
      {row === undefined && <Condition obstacle={obstacle} loadable={loadable} />}
      <Group gap="xs">
        {request !== null && <PrecisionBadge quantization={request.quantization} />}
        <Group gap="xs" ml="auto">
          {obstacle === "locked" ? (
            <>
              <Button variant="default" onClick={onRecheck}>
                Check again
              </Button>
              {info.access === "needs_acceptance" ? (
                <Button component="a" href={`${info.endpoint}/${info.canonical_id}`} target="_blank" rel="noreferrer">
                  Open the model's page
                </Button>
              ) : (
                <Button component={Link} to="/settings">
                  Set a token
                </Button>
              )}
            </>
          ) : row !== undefined ? (
            <Button component={Link} to={modelPath(row.id)}>
              Show it
            </Button>
          ) : (
            <Button
              disabled={busy || obstacle !== null || request === null || diskShort > 0}
              onClick={() => void submit()}
            >
              {busy
                ? "Starting the download…"
                : [
                    loadable && verdict !== "does_not_fit" ? "Download" : "Download anyway",
                    ...(info.missing_bytes > 0 ? [formatBytes(info.missing_bytes)] : []),
                  ].join(" ")}
            </Button>
          )}
        </Group>
      </Group>
    </Stack>
  );
}

function Failure({ problem, existing }: { problem: ProblemView; existing: string | null }) {
  if (existing === null) return <ProblemAlert title="The download did not start" problem={problem} />;
  return (
    <ProblemAlert
      title="Already installed"
      problem={{ ...problem, message: "Nothing was downloaded.", hint: null }}
      tone="warn"
    >
      <Button size="compact-sm" variant="default" component={Link} to={modelPath(existing)}>
        Show it
      </Button>
    </ProblemAlert>
  );
}

interface ConditionProps {
  obstacle: Obstacle;
  loadable: boolean;
}

/** Why the button beside it waits, or what it gives where that is less than usual. */
function Condition({ obstacle, loadable }: ConditionProps) {
  if (obstacle === "locked") return null;
  const words =
    obstacle === "nothing"
      ? "This repository has no weights to download."
      : obstacle === "consent"
        ? "Accept the pickle weights above to download them."
        : obstacle === "base"
          ? "The adapter needs its base model."
          : loadable
            ? null
            : "Modelyard cannot load this model. The files are downloaded for use with other programs.";
  return words === null ? null : (
    <Text size="sm" c="dimmed" role="status">
      {words}
    </Text>
  );
}
