import { Kbd, Modal } from "@mantine/core";
import { MOD_KEY } from "../../lib/keys";
import classes from "./KeyList.module.css";

const KEYS: [keys: string[], what: string][] = [
  [[MOD_KEY, "K"], "Go to a model, a page, a setting or an action"],
  [["?"], "Show these keys"],
  [["/"], "Search, on the Models page"],
  [["n"], "Download a model, on the Models page"],
  [["↑", "↓", "←", "→"], "Move between models, tabs and modules"],
  [["Enter"], "Open; send a prompt"],
  [["Shift", "Enter"], "New line in a prompt"],
  [["Esc"], "Close"],
];

/** What the keyboard can do. */
export default function KeyList({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Keyboard">
      <dl className={classes.keys}>
        {KEYS.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
