import { Button, Group, Radio, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { ApiError } from "../../../lib/apiError";
import { parseModelReference } from "../../../lib/modelId";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { toastDone } from "../../../lib/toast";
import { modelPath } from "../../../lib/modelPath";
import { useModelsStore } from "../../../stores/modelsStore";
import type { ImportRequest, Model } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";

/** Takes over a folder with a model that lies on the server's machine. */
export function ImportFolder({ onAdded }: { onAdded?: (model: Model) => void }) {
  const importFolder = useModelsStore((state) => state.importFolder);
  const [path, setPath] = useState("");
  const [name, setName] = useState<string | null>(null);
  const [mode, setMode] = useState<ImportRequest["mode"]>("link");
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<{ problem: ProblemView; existing: string | null } | null>(null);

  const shownName = name ?? suggestName(path);
  const reference = parseModelReference(shownName);
  const badPath = !isAbsolute(path.trim());
  const badName = reference === null || reference.revision !== null;

  async function submit() {
    setTried(true);
    if (badPath || badName) return;
    setBusy(true);
    setFailure(null);
    try {
      const model = await importFolder({ path: path.trim(), model_id: reference.model_id, mode });
      toastDone(`Adding ${model.name}`, "Its files are verified first.");
      setPath("");
      setName(null);
      setTried(false);
      onAdded?.(model);
    } catch (error) {
      const id = error instanceof ApiError && error.code === "already_exists" ? error.problem.id : null;
      setFailure({ problem: toProblem(error), existing: typeof id === "string" ? id : null });
    } finally {
      setBusy(false);
    }
  }

  return (
    <form
      aria-label="Import a folder"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Stack gap="sm">
        <TextInput
          label="Folder"
          description="An absolute path on the server's machine, below a folder it may read, with a config.json and safetensors in it"
          placeholder="/data/my-model"
          value={path}
          onChange={(event) => setPath(event.currentTarget.value)}
          error={tried && badPath ? "Enter an absolute path such as /data/my-model." : null}
          spellCheck={false}
          autoCapitalize="none"
          data-autofocus
        />
        <TextInput
          label="Name"
          description="Name of the imported model, as owner/name"
          placeholder="local/my-model"
          value={shownName}
          onChange={(event) => setName(event.currentTarget.value)}
          error={tried && badName ? "Enter a name such as local/my-model." : null}
          spellCheck={false}
          autoCapitalize="none"
        />
        <Radio.Group label="Import by" value={mode} onChange={(value) => setMode(value)}>
          <Stack gap={8} mt={8}>
            <Radio
              value="link"
              label="Linking"
              description="No extra space; the folder must be on the same disk as the cache and stay unchanged"
            />
            <Radio
              value="copy"
              label="Copying"
              description="Uses the space twice; the folder may be deleted afterwards"
            />
          </Stack>
        </Radio.Group>
        {failure !== null && (
          <ProblemAlert title="The folder was not imported" problem={failure.problem}>
            {failure.existing !== null && (
              <Button size="compact-sm" variant="default" component={Link} to={modelPath(failure.existing)}>
                Show it
              </Button>
            )}
          </ProblemAlert>
        )}
        <Group gap="sm">
          <Button type="submit" loading={busy} disabled={path.trim() === ""}>
            Import
          </Button>
          <Text size="sm" c="dimmed">
            {path.trim() === "" ? "Enter a folder path." : "Files are hashed during the import."}
          </Text>
        </Group>
      </Stack>
    </form>
  );
}

function isAbsolute(path: string): boolean {
  return path.startsWith("/") || /^[A-Za-z]:[\\/]/.test(path);
}

/** local/<folder>, with what a name cannot hold replaced. */
function suggestName(path: string): string {
  const folder = path.trim().split(/[\\/]/).filter(Boolean).at(-1) ?? "";
  const clean = folder.replaceAll(/[^A-Za-z0-9._-]+/g, "-").replaceAll(/^[^A-Za-z0-9]+|[^A-Za-z0-9_]+$/g, "");
  return clean === "" ? "" : `local/${clean}`;
}
