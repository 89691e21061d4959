import { Modal, Text } from "@mantine/core";
import { useMounted } from "@mantine/hooks";
import { Suspense, useState } from "react";
import { useOfflineReason } from "../../hooks/useOfflineReason";
import { ConnectionNotice } from "./ConnectionNotice";

/** What is fetched and mounted once it is wanted, and stays then, so that it can fade when it is closed. */
export function LazyDialog({ wanted, title, onClose, children }: LazyDialogProps) {
  const [used, setUsed] = useState(wanted);
  if (wanted && !used) setUsed(true);
  return used ? (
    <Suspense fallback={<LazyFallback wanted={wanted} title={title} onClose={onClose} />}>
      <MountedClosed wanted={wanted}>{children}</MountedClosed>
    </Suspense>
  ) : null;
}

interface LazyDialogProps {
  wanted: boolean;
  /** What it is called while it is not there. */
  title: string;
  onClose: () => void;
  children: (opened: boolean) => React.ReactNode;
}

/** In the place of what cannot be fetched, because the server does not answer; otherwise it is there at once. */
function LazyFallback({ wanted, title, onClose }: Omit<LazyDialogProps, "children">) {
  const away = useOfflineReason();
  return (
    <Modal opened={wanted && away !== undefined} onClose={onClose} title={title}>
      <ConnectionNotice />
      <Text role="status">Waiting for the server.</Text>
    </Modal>
  );
}

/** A dialogue that is mounted open does not know where the focus was, and could not give it back. */
function MountedClosed({ wanted, children }: Pick<LazyDialogProps, "wanted" | "children">) {
  const mounted = useMounted();
  return children(wanted && mounted);
}
