import { ActionIcon, Menu } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import {
  ArrowUpCircle,
  ArrowUpFromLine,
  Ban,
  BrainCircuit,
  Code,
  Columns2,
  EllipsisVertical,
  ExternalLink,
  Folder,
  Merge,
  Play,
  ShieldCheck,
  Shrink,
  Tag,
  Trash2,
} from "lucide-react";
import { useRef } from "react";
import { Link } from "react-router";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { compareSide } from "../../../lib/compare";
import { isActive, loadSnippet, waitsForDisk } from "../../../lib/labels";
import type { Props } from "../ModelCard";
import type { CardAction, ActionProps } from "./actions";

export function tabOf(href: string, tab: string): string {
  const [path = "", search] = href.split("?");
  const parameters = new URLSearchParams(search);
  parameters.set("tab", tab);
  return `${path}?${parameters.toString()}`;
}

export function CardMenu({ model, href, busy, onAction: onChosen }: ActionProps & Pick<Props, "href">) {
  const button = useRef<HTMLButtonElement>(null);
  const clipboard = useClipboard();
  const away = useOfflineReason();
  const active = isActive(model.status);
  const path = model.snapshot_path;
  // A Modelyard's own Hub endpoint has files to give, but no pages.
  const hasPage = model.endpoint.startsWith("http") && !model.endpoint.endsWith("/hub");
  const page = hasPage ? `${model.endpoint}/${model.canonical_id}` : null;
  // The item is gone when a dialogue gives the focus back, so the dialogue has to find the button focused.
  const onAction: ActionProps["onAction"] = (...chosen) => {
    button.current?.focus();
    onChosen(...chosen);
  };
  return (
    <Menu position="bottom-end" width={220} transitionProps={{ duration: 80 }}>
      <Menu.Target>
        <ActionIcon ref={button} aria-label={`More actions for ${model.name}`} size={28}>
          <EllipsisVertical size={16} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {model.update_available === true && (
          <Menu.Item component={Link} to={tabOf(href, "files")} leftSection={<ArrowUpCircle size={14} aria-hidden />}>
            View the update
          </Menu.Item>
        )}
        <UseItems model={model} busy={busy} onAction={onAction} />
        <Menu.Item
          leftSection={<Tag size={14} aria-hidden />}
          disabled={away !== undefined}
          title={away}
          onClick={() => onAction(model, "labels")}
        >
          Tags and note…
        </Menu.Item>
        <Menu.Item leftSection={<Code size={14} aria-hidden />} onClick={() => clipboard.copy(loadSnippet(model))}>
          Copy code that loads it
        </Menu.Item>
        {path !== null && (
          <Menu.Item leftSection={<Folder size={14} aria-hidden />} onClick={() => clipboard.copy(path)}>
            Copy folder path
          </Menu.Item>
        )}
        {page !== null && (
          <Menu.Item
            leftSection={<ExternalLink size={14} aria-hidden />}
            component="a"
            href={page}
            target="_blank"
            rel="noreferrer"
          >
            {model.gated ? "Open the licence page" : "Open on the Hub"}
          </Menu.Item>
        )}
        {model.status === "ready" && (
          <Menu.Item
            leftSection={<ShieldCheck size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "verify")}
          >
            Verify the files
          </Menu.Item>
        )}
        <Menu.Divider role="separator" />
        {waitsForDisk(model) && (
          <Menu.Item
            leftSection={<Play size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "resume")}
          >
            Resume now
          </Menu.Item>
        )}
        {active ? (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Ban size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "cancel")}
          >
            Cancel and remove…
          </Menu.Item>
        ) : (
          <Menu.Item
            c="var(--y-bad)"
            leftSection={<Trash2 size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "delete")}
          >
            Delete…
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

/** What can be done with a model that is ready; one whose files are gone may still be in memory. */
function UseItems({ model, busy, onAction }: ActionProps) {
  const away = useOfflineReason();
  const ready = model.status === "ready";
  const item = (label: string, icon: React.ReactNode, action: CardAction) => (
    <Menu.Item
      leftSection={icon}
      disabled={busy || away !== undefined}
      title={away}
      onClick={() => onAction(model, action)}
    >
      {label}
    </Menu.Item>
  );
  return (
    <>
      {ready && model.training?.compatible !== false && (
        <Menu.Item
          component={Link}
          to={`/training/new?model=${model.id}`}
          leftSection={<BrainCircuit size={14} aria-hidden />}
        >
          Train an SAE on this
        </Menu.Item>
      )}
      {ready && model.generates_text !== false && (
        <Menu.Item
          component={Link}
          to={`/compare?${compareSide(model)}=${model.id}`}
          leftSection={<Columns2 size={14} aria-hidden />}
        >
          Compare…
        </Menu.Item>
      )}
      {model.loaded && item("Unload", <ArrowUpFromLine size={14} aria-hidden />, "unload")}
      {ready && model.quantization === "none" && model.adapter === null && (
        <>
          {item("Quantize to 4-bit…", <Shrink size={14} aria-hidden />, "quantize-4bit")}
          {item("Quantize to 8-bit…", <Shrink size={14} aria-hidden />, "quantize-8bit")}
        </>
      )}
      {ready && model.adapter !== null && item("Merge into a model", <Merge size={14} aria-hidden />, "merge")}
    </>
  );
}
