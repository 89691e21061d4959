import { Table } from "@mantine/core";
import { useMemo } from "react";
import { formatBytes } from "../../lib/bytes";
import type { RepoFile } from "../../types/model";
import { CopyText } from "../common/CopyText";
import classes from "./FileTable.module.css";

/** Files of a repository, largest first: those that are fetched, then those that are not, each with the reason. */
export function FileTable({ files, hashes = false }: { files: RepoFile[]; hashes?: boolean }) {
  const sorted = useMemo(
    () =>
      files.toSorted(
        (a, b) =>
          Number(b.fetch) - Number(a.fetch) ||
          (b.size_bytes ?? 0) - (a.size_bytes ?? 0) ||
          a.path.localeCompare(b.path, "en", { numeric: true }),
      ),
    [files],
  );
  return (
    <Table verticalSpacing={6} horizontalSpacing={8} fz="xs">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>File</Table.Th>
          <Table.Th ta="right">Size</Table.Th>
          {hashes && <Table.Th>SHA-256</Table.Th>}
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {sorted.map((file) => (
          <Table.Tr key={file.path}>
            <Table.Td>
              <span className={`${classes.path} mono`} data-skipped={!file.fetch || undefined}>
                {file.path}
              </span>
              <span className={classes.reason}>{file.fetch ? file.reason : `not fetched: ${file.reason}`}</span>
            </Table.Td>
            <Table.Td className={`${classes.size} num`}>{formatBytes(file.size_bytes)}</Table.Td>
            {hashes && (
              <Table.Td>
                {file.sha256 === null ? (
                  <span className={classes.reason}>none given</span>
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
  );
}
