import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { usePaletteStore } from "../../stores/paletteStore";
import { LazyDialog } from "../common/LazyDialog";

const Palette = lazyWithRetry(() => import("./Palette"));
const KeyList = lazyWithRetry(() => import("./KeyList"));

/** The keys that work on every page, and what they open. */
export function Keys() {
  const { opened: searching, open, close } = usePaletteStore();
  const [listing, keys] = useDisclosure(false);
  const list = () => {
    if (document.querySelector("[role=dialog]") === null) keys.open();
  };
  // From a field as well: there it is no letter.
  useHotkeys([["mod+K", open]], []);
  useHotkeys([
    ["?", list],
    ["shift+?", list],
  ]);
  return (
    <>
      <LazyDialog wanted={searching} title="Go to" onClose={close}>
        {(opened) => <Palette opened={opened} onClose={close} onKeys={keys.open} />}
      </LazyDialog>
      <LazyDialog wanted={listing} title="Keyboard" onClose={keys.close}>
        {(opened) => <KeyList opened={opened} onClose={keys.close} />}
      </LazyDialog>
    </>
  );
}
