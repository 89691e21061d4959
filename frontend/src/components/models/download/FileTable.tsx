import { Table, Text } from "@mantine/core";
import { useMemo } from "react";
import { Link } from "react-router";
import { formatBytes } from "../../../lib/bytes";
import { CopyText } from "../../common/CopyText";
import classes from "./FileTable.module.css";

export interface ListedFile {
  path: string;
  size_bytes: number | null;
  sha256: string | null;
  /** What there is to say about it. */
  remark: string | null;
  /** Those that are not fetched come last; those that are missing stand out. */
  state: "normal" | "skipped" | "missing";
}

interface Props {
  files: ListedFile[];
  hashes?: boolean;
  /** Where the text of a file is shown, for those that are opened; null for others. */
  open?: (path: string) => string | null;
}

/** Files of a repository or a snapshot, largest first, then those that are not fetched. */
export function FileTable({ files, hashes = false, open }: Props) {
  const sorted = useMemo(
    () =>
      files.toSorted(
        (a, b) =>
          Number(a.state === "skipped") - Number(b.state === "skipped") ||
          (b.size_bytes ?? 0) - (a.size_bytes ?? 0) ||
          a.path.localeCompare(b.path, "en", { numeric: true }),
      ),
    [files],
  );
  // Of small files the Hub gives none; a column of dashes says less than nothing.
  const someHash = hashes && files.some(({ sha256 }) => sha256 !== null);
  return (
    <div className={classes.frame}>
      <Table verticalSpacing={4} horizontalSpacing={8} fz="xs" className={classes.table}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>File</Table.Th>
            <Table.Th ta="right">Size</Table.Th>
            {someHash && <Table.Th>SHA-256</Table.Th>}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sorted.map((file) => (
            <Table.Tr key={file.path}>
              <Table.Td>
                <Name file={file} to={open?.(file.path) ?? null} />
                {file.remark !== null && (
                  <span className={classes.reason} data-state={file.state}>
                    {file.remark}
                  </span>
                )}
              </Table.Td>
              <Table.Td className={`${classes.size} num`}>{formatBytes(file.size_bytes)}</Table.Td>
              {someHash && (
                <Table.Td>
                  {file.sha256 === null ? (
                    <span className={classes.none}>–</span>
                  ) : (
                    <CopyText text={file.sha256} label="hash">
                      {file.sha256.slice(0, 10)}
                    </CopyText>
                  )}
                </Table.Td>
              )}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {someHash && files.some((file) => file.sha256 === null) && (
        <Text size="xs" c="dimmed" className={classes.note}>
          The Hub gives a SHA-256 for large files only.
        </Text>
      )}
    </div>
  );
}

function Name({ file: { path, state }, to }: { file: ListedFile; to: string | null }) {
  return (
    <span className={`${classes.path} mono`} data-state={state}>
      {to === null ? path : <Link to={to}>{path}</Link>}
    </span>
  );
}
