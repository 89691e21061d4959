import { Button, Group, NativeSelect, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { formatBytes } from "../../../lib/bytes";
import { toProblem, type ProblemView } from "../../../lib/problems";
import { useModelsStore } from "../../../stores/modelsStore";
import type { Model, ModelInfo } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";

type GgufFile = ModelInfo["gguf_files"][number];

interface Props {
  info: ModelInfo;
  revision: string | null;
  /** Nothing else of the repository can be downloaded. */
  alone: boolean;
  onDone: (model: Model) => void;
}

/** Chooses one of a repository's GGUF files, which is fetched and converted to safetensors. */
export function GgufDownload({ info, revision, alone, onDone }: Props) {
  const downloadModel = useModelsStore((state) => state.downloadModel);
  const [picked, setPicked] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const file = info.gguf_files.find(({ path }) => path === picked);

  async function submit(gguf_file: string) {
    setBusy(true);
    setProblem(null);
    try {
      const request = {
        model_id: info.model_id,
        revision,
        gguf_file,
        allow_pickle: false,
        allow_unsupported: false,
        with_base: false,
      } as const;
      onDone(await downloadModel({ ...request, quantization: "none", keep_original: true }));
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <Stack gap="sm">
      <NativeSelect
        label="GGUF file"
        description="It is converted to safetensors, so that it can be quantized, trained on and served."
        value={picked}
        onChange={(event) => setPicked(event.currentTarget.value)}
        data={[
          { value: "", label: "Choose a file" },
          ...info.gguf_files.map((each) => ({
            value: each.path,
            label: labelOf(each),
            disabled: each.problem !== null,
          })),
        ]}
      />
      {problem !== null && <ProblemAlert title="The download did not start" problem={problem} />}
      {file !== undefined && (
        <Group gap="xs">
          <Text size="sm" c="dimmed">
            {file.weights_bytes === null
              ? "Its header has not been read yet."
              : `Takes ${formatBytes(file.weights_bytes)} of memory in ${file.dtype ?? "its dtype"}.`}
          </Text>
          <Button
            ml="auto"
            variant={alone ? "filled" : "default"}
            disabled={busy}
            onClick={() => void submit(file.path)}
          >
            {busy ? "Starting the download…" : `Download and convert ${formatBytes(file.size_bytes)}`}
          </Button>
        </Group>
      )}
      {info.gguf_files.map(({ path, problem: refusal }) =>
        refusal === null ? null : (
          <Text key={path} size="sm" c="dimmed">
            {refusal}
          </Text>
        ),
      )}
    </Stack>
  );
}

/** "model.Q4_K_M.gguf (Q4_K_M, 808 MB)". */
function labelOf({ path, quantization_type, size_bytes }: GgufFile): string {
  return `${path} (${[quantization_type, formatBytes(size_bytes)].filter((word) => word !== null).join(", ")})`;
}
