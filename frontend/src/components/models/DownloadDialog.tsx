import { Modal } from "@mantine/core";
import { toastDone } from "../../lib/toast";
import { ConnectionNotice } from "../common/ConnectionNotice";
import { ModelDownloadForm } from "./ModelDownloadForm";

interface Props {
  opened: boolean;
  fullScreen: boolean;
  /** A model to look up at once. */
  initial: string;
  onLookUp: (reference: string) => void;
  onClose: () => void;
}

/** The form in a dialog, which a started download closes. */
export default function DownloadDialog({ opened, fullScreen, initial, onLookUp, onClose }: Props) {
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title="Download a model"
      size={1360}
      fullScreen={fullScreen}
      yOffset="3dvh"
    >
      <ConnectionNotice />
      <ModelDownloadForm
        initial={initial}
        onLookUp={onLookUp}
        onDone={(model) => {
          toastDone(`Downloading ${model.name}`, "Follow it under Downloads.");
          onClose();
        }}
      />
    </Modal>
  );
}
