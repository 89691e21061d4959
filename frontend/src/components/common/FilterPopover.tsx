import { Button, Popover, Stack } from "@mantine/core";
import { ListFilter } from "lucide-react";

interface Props {
  /** How many filters are set. */
  active: number;
  children: React.ReactNode;
}

/** Filters behind a button that counts those that are set. */
export function FilterPopover({ active, children }: Props) {
  return (
    <Popover position="bottom-start" width={260} trapFocus returnFocus shadow="none" transitionProps={{ duration: 80 }}>
      <Popover.Target>
        <Button variant={active > 0 ? "light" : "default"} px="sm" leftSection={<ListFilter size={16} aria-hidden />}>
          {active > 0 ? `Filter (${active})` : "Filter"}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Filter">
        <Stack gap="sm">{children}</Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
