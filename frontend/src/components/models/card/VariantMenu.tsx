import { ActionIcon, Menu } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import {
  ArrowUpFromLine,
  Ban,
  BrainCircuit,
  Code,
  Columns2,
  EllipsisVertical,
  Eraser,
  Folder,
  Merge,
  PackageOpen,
  Play,
  ShieldCheck,
  Shrink,
  Trash2,
} from "lucide-react";
import { useRef } from "react";
import { Link } from "react-router";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { useTorchReason } from "../../../hooks/useTorchReason";
import { formatBytes } from "../../../lib/bytes";
import { compareSide } from "../../../lib/compare";
import { isActive, loadSnippet, waitsForDisk } from "../../../lib/labels";
import { variantName } from "../../../lib/groups";
import type { CardAction, ActionProps } from "./actions";
import { VersionItems } from "./VersionItems";

/** What can be done with one variant of a model. */
export function VariantMenu({ model, busy, onAction: onChosen }: ActionProps) {
  const button = useRef<HTMLButtonElement>(null);
  const clipboard = useClipboard();
  const away = useOfflineReason();
  const active = isActive(model.status);
  const path = model.snapshot_path;
  // The item is gone when a dialogue gives the focus back, so the dialogue has to find the button focused.
  const onAction: ActionProps["onAction"] = (...chosen) => {
    button.current?.focus();
    onChosen(...chosen);
  };
  return (
    <Menu position="bottom-end" width={240} transitionProps={{ duration: 80 }}>
      <Menu.Target>
        <ActionIcon ref={button} aria-label={`More actions for ${variantName(model)}`} size={28}>
          <EllipsisVertical size={16} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <UseItems model={model} busy={busy} onAction={onAction} />
        <VersionItems model={model} busy={busy} onAction={onAction} />
        <Menu.Item leftSection={<Code size={14} aria-hidden />} onClick={() => clipboard.copy(loadSnippet(model))}>
          Copy code that loads it
        </Menu.Item>
        {path !== null && (
          <Menu.Item leftSection={<Folder size={14} aria-hidden />} onClick={() => clipboard.copy(path)}>
            Copy folder path
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
        {model.status === "ready" && (
          <Menu.Item
            leftSection={<PackageOpen size={14} aria-hidden />}
            disabled={away !== undefined}
            title={away}
            onClick={() => onAction(model, "export")}
          >
            Export…
          </Menu.Item>
        )}
        <Menu.Divider role="separator" />
        {model.status === "ready" && model.original_bytes > 0 && model.shared_bytes === 0 && (
          <Menu.Item
            leftSection={<Eraser size={14} aria-hidden />}
            disabled={busy || away !== undefined}
            title={away}
            onClick={() => onAction(model, "drop-original")}
          >
            Remove the original files, {formatBytes(model.original_bytes)}…
          </Menu.Item>
        )}
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
  const torch = useTorchReason();
  const ready = model.status === "ready";
  const item = (label: string, icon: React.ReactNode, action: CardAction, why = away) => (
    <Menu.Item
      leftSection={icon}
      disabled={busy || why !== undefined}
      title={why}
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
        <LinkItem
          to={`/compare?${compareSide(model)}=${model.id}`}
          icon={<Columns2 size={14} aria-hidden />}
          why={torch}
        >
          Compare…
        </LinkItem>
      )}
      {model.loaded && item("Unload", <ArrowUpFromLine size={14} aria-hidden />, "unload")}
      {ready && model.quantization === "none" && model.adapter === null && (
        <>
          {item("Quantize to 4-bit…", <Shrink size={14} aria-hidden />, "quantize-4bit", away ?? torch)}
          {item("Quantize to 8-bit…", <Shrink size={14} aria-hidden />, "quantize-8bit", away ?? torch)}
        </>
      )}
      {ready &&
        model.adapter !== null &&
        item("Merge into a model", <Merge size={14} aria-hidden />, "merge", away ?? torch)}
    </>
  );
}

interface LinkItemProps {
  to: string;
  icon: React.ReactNode;
  /** Why it leads nowhere; undefined where it does. */
  why: string | undefined;
  children: React.ReactNode;
}

function LinkItem({ to, icon, why, children }: LinkItemProps) {
  if (why !== undefined)
    return (
      <Menu.Item leftSection={icon} disabled title={why}>
        {children}
      </Menu.Item>
    );
  return (
    <Menu.Item component={Link} to={to} leftSection={icon}>
      {children}
    </Menu.Item>
  );
}
