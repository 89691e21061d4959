import { Button, FileButton, NativeSelect, TextInput } from "@mantine/core";
import { Upload } from "lucide-react";
import { useState } from "react";
import { uploadDataset } from "../../api/trainings";
import type { FieldErrors } from "../../hooks/useTrainings";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import type { StoredDataset } from "../../types/training";
import { ProblemAlert } from "../common/ProblemAlert";
import classes from "./training.module.css";

interface Props {
  path: string;
  column: string;
  errors: FieldErrors;
  onChange: (change: { path?: string; column?: string }) => void;
}

/** Text to train on: a file that lies on the server's machine, or one that is sent there. */
export function DatasetFields({ path, column, errors, onChange }: Props) {
  const [sending, setSending] = useState<File | null>(null);
  const [stored, setStored] = useState<StoredDataset | null>(null);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const known = stored !== null && stored.path === path ? stored : null;

  async function send(file: File) {
    setSending(file);
    setProblem(null);
    try {
      const answer = await uploadDataset(file);
      setStored(answer);
      const kept = answer.columns.includes(column) ? column : answer.columns[0];
      onChange({ path: answer.path, column: kept ?? "text" });
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setSending(null);
    }
  }

  return (
    <div className={classes.fields}>
      <div className={classes.wide}>
        <TextInput
          label="Text file"
          description="An absolute path on the server's machine: .jsonl, .parquet or .txt"
          inputWrapperOrder={["label", "input", "description", "error"]}
          placeholder="/data/corpus.jsonl"
          value={path}
          error={errors["dataset.path"]}
          onChange={(event) => onChange({ path: event.currentTarget.value })}
          spellCheck={false}
          autoCapitalize="none"
        />
      </div>
      <div className={classes.wide}>
        <FileButton accept=".jsonl,.parquet,.txt" onChange={(file) => file !== null && void send(file)}>
          {(props) => (
            <Button
              {...props}
              variant="default"
              size="xs"
              leftSection={<Upload size={14} aria-hidden />}
              loading={sending !== null}
            >
              Upload a file
            </Button>
          )}
        </FileButton>
        <p className={`${classes.fact} ${classes.below} num`} role="status">
          {sending !== null
            ? `Sending ${sending.name}, ${formatBytes(sending.size)}`
            : known !== null
              ? `${known.rows === 1 ? "1 row" : `${known.rows.toLocaleString("en")} rows`}, ${formatBytes(known.size_bytes)}, text in ${known.columns.join(", ")}`
              : ""}
        </p>
      </div>
      {problem !== null && (
        <div className={classes.wide}>
          <ProblemAlert title="The file was not stored" problem={problem} />
        </div>
      )}
      {known !== null && known.columns.length > 1 ? (
        <NativeSelect
          label="Column with the text"
          value={column}
          error={errors["dataset.column"]}
          onChange={(event) => onChange({ column: event.currentTarget.value })}
          data={known.columns}
        />
      ) : (
        <TextInput
          label="Column with the text"
          value={column}
          error={errors["dataset.column"]}
          onChange={(event) => onChange({ column: event.currentTarget.value })}
          spellCheck={false}
          autoCapitalize="none"
        />
      )}
    </div>
  );
}
