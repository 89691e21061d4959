import { Menu } from "@mantine/core";
import { ArrowUpCircle, History, Pin, PinOff } from "lucide-react";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import { followsBranch, isOutdated } from "../../../lib/versions";
import type { ActionProps, CardAction } from "./actions";

/** Which version of a ready model is used. */
export function VersionItems({ model, busy, onAction }: ActionProps) {
  const away = useOfflineReason();
  if (model.status !== "ready") return null;
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
  const replaced = model.replaced_by !== null;
  const pinned = model.pinned_commit !== null;
  return (
    <>
      {isOutdated(model) && item("Update…", <ArrowUpCircle size={14} aria-hidden />, "update")}
      {replaced && item("Use this version…", <History size={14} aria-hidden />, "use-version")}
      {!replaced &&
        !pinned &&
        model.previous_commit !== null &&
        item("Roll back…", <History size={14} aria-hidden />, "rollback")}
      {pinned && item("Unpin", <PinOff size={14} aria-hidden />, "unpin")}
      {!pinned && !replaced && followsBranch(model) && item("Pin this version", <Pin size={14} aria-hidden />, "pin")}
    </>
  );
}
