import { ActionIcon, Menu } from "@mantine/core";
import { EllipsisVertical, ExternalLink, Tag, Trash2 } from "lucide-react";
import { useRef } from "react";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import type { ModelGroup } from "../../../lib/groups";
import { isDeletable } from "../../../lib/labels";
import type { CardAction, OnAction } from "./actions";

/** What can be done with a repository as a whole. */
export function CardMenu({ group, onAction: onChosen }: { group: ModelGroup; onAction: OnAction }) {
  const button = useRef<HTMLButtonElement>(null);
  const away = useOfflineReason();
  const { head, variants } = group;
  // A Modelyard's own Hub endpoint has files to give, but no pages.
  const hasPage = head.endpoint.startsWith("http") && !head.endpoint.endsWith("/hub");
  const deletable = variants.filter(isDeletable).length;
  // The item is gone when a dialogue gives the focus back, so the dialogue has to find the button focused.
  const onAction = (action: CardAction) => {
    button.current?.focus();
    onChosen(head, action);
  };
  return (
    <Menu position="bottom-end" width={220} transitionProps={{ duration: 80 }}>
      <Menu.Target>
        <ActionIcon ref={button} aria-label={`More actions for ${head.name}`} size={28}>
          <EllipsisVertical size={16} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item
          leftSection={<Tag size={14} aria-hidden />}
          disabled={away !== undefined}
          title={away}
          onClick={() => onAction("labels")}
        >
          Tags and note…
        </Menu.Item>
        {hasPage && (
          <Menu.Item
            leftSection={<ExternalLink size={14} aria-hidden />}
            component="a"
            href={`${head.endpoint}/${head.canonical_id}`}
            target="_blank"
            rel="noreferrer"
          >
            {head.gated ? "Open the licence page" : "Open on the Hub"}
          </Menu.Item>
        )}
        {deletable > 1 && (
          <>
            <Menu.Divider role="separator" />
            <Menu.Item
              c="var(--y-bad)"
              leftSection={<Trash2 size={14} aria-hidden />}
              disabled={away !== undefined}
              title={away}
              onClick={() => onAction("delete-all")}
            >
              Delete several…
            </Menu.Item>
          </>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}
