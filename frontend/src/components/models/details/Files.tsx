import { Stack, Text } from "@mantine/core";
import { useSearchParams } from "react-router";
import { listFiles } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { isActive } from "../../../lib/labels";
import { filePath } from "../../../lib/modelPath";
import type { Model } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import { FileTable } from "../download/FileTable";
import type { Props } from "./ModelDetails";
import { TextFileView } from "./TextFileView";
import { UpdateNotice } from "./UpdateNotice";

/** What is opened as text; the server looks at what is in it. */
const TEXT = /(\.(json|jsonl|jinja|md|txt|ya?ml|py|toml|cfg|csv|tsv|bpe|codes|vocab)|^[A-Z_]+)$/i;

/** The files of a model, or the text of the one that the address names. */
export function FilesView({ model, live, onAction }: { model: Model } & Pick<Props, "live" | "onAction">) {
  const [parameters] = useSearchParams();
  const path = parameters.get("file");
  if (path !== null) return <TextFileView model={model} path={path} />;
  return (
    <Stack gap="md">
      <UpdateNotice key={model.id} model={model} onAction={onAction} />
      <Files model={model} live={live} />
    </Stack>
  );
}

function Files({ model, live }: { model: Model } & Pick<Props, "live">) {
  const [parameters] = useSearchParams();
  // What is on the disk changes with the row, and with every file that comes.
  const files = useResource(
    `${model.id}@${model.updated_at}@${live?.progress?.files_done ?? ""}`,
    (signal) => listFiles(model.id, signal),
    model.id,
  );
  if (files.problem !== null)
    return (
      <ProblemAlert title="The list of files is not available" problem={files.problem}>
        <TryAgain onClick={files.reload} />
      </ProblemAlert>
    );
  if (files.data === null) return <Placeholder h={200} label="Loading the files" />;
  const { items } = files.data;
  const present = new Set(items.filter((file) => file.present).map((file) => file.path));
  if (items.length === 0) return <Text c="dimmed">The file list is loading from the Hub.</Text>;
  const missing = items.filter((file) => !file.present).length;
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed" className="num">
        {items.length === 1 ? "1 file" : `${items.length} files`},{" "}
        {missing === 0 ? "all on the disk" : `${missing} not on the disk`}
      </Text>
      <FileTable
        files={items.map(({ path, size_bytes, sha256, present }) => ({
          path,
          size_bytes,
          sha256,
          remark: present ? null : isActive(model.status) ? "not downloaded yet" : "missing",
          state: present ? "normal" : isActive(model.status) ? "skipped" : "missing",
        }))}
        hashes
        open={(path) =>
          present.has(path) && TEXT.test(path.split("/").at(-1) ?? "") ? filePath(model.id, path, parameters) : null
        }
      />
    </Stack>
  );
}
