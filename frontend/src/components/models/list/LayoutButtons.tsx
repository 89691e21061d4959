import { ActionIcon, Checkbox, Popover, Stack } from "@mantine/core";
import { Columns3, LayoutGrid, Table2 } from "lucide-react";
import { COLUMN_LABEL, COLUMNS } from "../../../lib/columns";
import { type Layout, useListViewStore } from "../../../stores/listViewStore";

/** Cards or a table, and the columns of that. */
export function LayoutButtons({ layout, small }: { layout: Layout; small: boolean }) {
  const { columns, setLayout, setColumns } = useListViewStore();
  const table = layout === "table";
  const Icon = table ? LayoutGrid : Table2;
  const label = table ? "Show cards" : "Show a table";
  return (
    <>
      {table && !small && (
        <Popover position="bottom-end" trapFocus returnFocus shadow="none" transitionProps={{ duration: 80 }}>
          <Popover.Target>
            <ActionIcon variant="default" size={36} aria-label="Columns" title="Columns">
              <Columns3 size={16} aria-hidden />
            </ActionIcon>
          </Popover.Target>
          <Popover.Dropdown aria-label="Columns">
            <Stack gap="xs">
              {COLUMNS.map((column) => (
                <Checkbox
                  key={column}
                  label={COLUMN_LABEL[column]}
                  checked={columns.includes(column)}
                  onChange={({ currentTarget: { checked } }) =>
                    setColumns(COLUMNS.filter((other) => (other === column ? checked : columns.includes(other))))
                  }
                />
              ))}
            </Stack>
          </Popover.Dropdown>
        </Popover>
      )}
      <ActionIcon
        variant="default"
        size={36}
        aria-label={label}
        title={label}
        onClick={() => setLayout(table ? "cards" : "table")}
      >
        <Icon size={16} aria-hidden />
      </ActionIcon>
    </>
  );
}
