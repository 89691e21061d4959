import { Group, Stack, Text } from "@mantine/core";
import { ChevronLeft } from "lucide-react";
import { Link, useSearchParams } from "react-router";
import { getTextFile } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import { modelPath } from "../../../lib/modelPath";
import type { Model } from "../../../types/model";
import { CopyCode } from "../../common/CopyCode";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./TextFileView.module.css";

/** The text of one file of a model, as it was written. */
export function TextFileView({ model, path }: { model: Model; path: string }) {
  const [parameters] = useSearchParams();
  const file = useResource(`${model.id} ${path}`, (signal) => getTextFile(model.id, path, signal));
  return (
    <Stack gap="sm">
      <Link to={modelPath(model.id, "files", parameters)} className={classes.back}>
        <ChevronLeft size={16} aria-hidden />
        All files
      </Link>
      <Group justify="space-between" gap="xs">
        <h3 className={`${classes.name} mono`}>{path}</h3>
        {file.data !== null && <CopyCode code={file.data.text} label="Copy text" />}
      </Group>
      {file.problem !== null && (
        <ProblemAlert title="The file cannot be shown" problem={file.problem}>
          <TryAgain onClick={file.reload} />
        </ProblemAlert>
      )}
      {file.loading && <Placeholder h={200} label="Loading the file" />}
      {file.data !== null && (
        <>
          <Text size="sm" c="dimmed" className="num">
            {formatBytes(file.data.size_bytes)}
            {file.data.truncated && `, the first ${formatBytes(new Blob([file.data.text]).size)} are shown`}
          </Text>
          <pre className={classes.text} role="group" aria-label={`Text of ${path}`}>
            {file.data.text}
          </pre>
        </>
      )}
    </Stack>
  );
}
