import { Button, FileButton, NativeSelect, Text, TextInput } from "@mantine/core";
import { Upload } from "lucide-react";
import { useState } from "react";
import { listDatasets, uploadDataset } from "../../api/trainings";
import { useResource } from "../../hooks/useResource";
import type { FieldErrors, KnownText } from "../../hooks/useTrainings";
import { formatBytes } from "../../lib/bytes";
import { type ProblemView, toProblem } from "../../lib/problems";
import type { StoredDataset } from "../../types/training";
import { Fields, WideField } from "../common/Fields";
import { ProblemAlert } from "../common/ProblemAlert";
import { SentDatasets } from "./SentDatasets";

interface Props {
  path: string;
  column: string;
  /** What the server last found in a file. */
  found: KnownText | null;
  errors: FieldErrors;
  onChange: (change: { path?: string; column?: string }) => void;
}

/** Text to train on: a file that lies on the server's machine, one that is sent there, or was sent before. */
export function DatasetFields({ path, column, found, errors, onChange }: Props) {
  const sent = useResource("datasets", listDatasets);
  const [sending, setSending] = useState<File | null>(null);
  const [stored, setStored] = useState<StoredDataset | null>(null);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const [seen, setSeen] = useState<KnownText | null>(null);
  // A refusal for something else says nothing of the columns, which are still the same.
  if (found !== null && found.columns !== null && found !== seen) setSeen(found);
  const known = stored !== null && stored.path === path ? stored : null;
  const text = seen !== null && seen.path === path.trim() ? seen : null;
  const columns = known?.columns ?? text?.columns ?? null;

  async function send(file: File) {
    setSending(file);
    setProblem(null);
    try {
      const answer = await uploadDataset(file);
      setStored(answer);
      sent.reload();
      onChange({ path: answer.path, column: "" });
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setSending(null);
    }
  }

  return (
    <Fields>
      <WideField>
        <TextInput
          label="Text file"
          description="An absolute path on the server's machine, below a folder it may read: .jsonl, .parquet or .txt"
          inputWrapperOrder={["label", "input", "description", "error"]}
          placeholder="/data/corpus.jsonl"
          value={path}
          error={errors["dataset.path"]}
          // Another file has other columns.
          onChange={(event) =>
            onChange({ path: event.currentTarget.value, ...(columns === null ? {} : { column: "" }) })
          }
          spellCheck={false}
          autoCapitalize="none"
        />
      </WideField>
      <WideField>
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
        <Text size="sm" c="dimmed" mt={6} className="num" role="status">
          {sending !== null
            ? `Uploading ${sending.name}, ${formatBytes(sending.size)}`
            : known !== null
              ? `${known.rows === 1 ? "1 row" : `${known.rows.toLocaleString("en")} rows`}, ${formatBytes(known.size_bytes)}, text columns: ${known.columns.join(", ")}`
              : ""}
        </Text>
      </WideField>
      {problem !== null && (
        <WideField>
          <ProblemAlert title="The file was not stored" problem={problem} />
        </WideField>
      )}
      <SentDatasets sent={sent} path={path} onChoose={(chosen) => onChange({ path: chosen, column: "" })} />
      {columns !== null ? (
        <ColumnSelect
          columns={columns}
          value={column || (text?.column ?? "")}
          error={errors["dataset.column"]}
          onChange={(next) => onChange({ column: next })}
        />
      ) : (
        <TextInput
          label="Column with the text"
          description="Optional if only one column holds text"
          inputWrapperOrder={["label", "input", "description", "error"]}
          value={column}
          error={errors["dataset.column"]}
          onChange={(event) => onChange({ column: event.currentTarget.value })}
          spellCheck={false}
          autoCapitalize="none"
        />
      )}
    </Fields>
  );
}

interface ColumnProps {
  columns: string[];
  value: string;
  error: string | undefined;
  onChange: (column: string) => void;
}

function ColumnSelect({ columns, value, error, onChange }: ColumnProps) {
  const chosen = value || (columns.length === 1 ? (columns[0] ?? "") : "");
  const other = columns.includes(chosen) ? [] : [{ value: chosen, label: chosen || "Choose a column" }];
  return (
    <NativeSelect
      label="Column with the text"
      value={chosen}
      error={error}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[...other, ...columns]}
    />
  );
}
