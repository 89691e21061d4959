import { Table, Text } from "@mantine/core";
import { useMemo } from "react";
import { formatBytes } from "../../lib/bytes";
import type { RepoFile } from "../../types/model";
import { CopyText } from "../common/CopyText";

/** Files of a repository, largest first: those that are fetched, then those that are not and why. */
export function FileTable({ files, hashes = false }: { files: RepoFile[]; hashes?: boolean }) {
  const sorted = useMemo(
    () =>
      files.toSorted(
        (a, b) => Number(b.fetch) - Number(a.fetch) || (b.size_bytes ?? 0) - (a.size_bytes ?? 0) || a.path.localeCompare(b.path),
      ),
    [files],
  );
  return (
    <Table.ScrollContainer minWidth={hashes ? 480 : 300} type="native">
      <Table verticalSpacing={4} fz="xs">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>File</Table.Th>
            <Table.Th ta="right">Size</Table.Th>
            <Table.Th>Fetched</Table.Th>
            {hashes && <Table.Th>SHA-256</Table.Th>}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {sorted.map((file) => (
            <Table.Tr key={file.path}>
              <Table.Td className="mono" style={{ overflowWrap: "anywhere" }}>
                {file.path}
              </Table.Td>
              <Table.Td ta="right" className="num" style={{ whiteSpace: "nowrap" }}>
                {formatBytes(file.size_bytes)}
              </Table.Td>
              <Table.Td>
                <Text size="xs" c={file.fetch ? undefined : "dimmed"}>
                  {file.fetch ? "yes" : "no"}, {file.reason}
                </Text>
              </Table.Td>
              {hashes && (
                <Table.Td>
                  {file.sha256 === null ? (
                    <Text size="xs" c="dimmed">
                      none given
                    </Text>
                  ) : (
                    <CopyText text={file.sha256} label="hash">
                      {file.sha256.slice(0, 12)}
                    </CopyText>
                  )}
                </Table.Td>
              )}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
