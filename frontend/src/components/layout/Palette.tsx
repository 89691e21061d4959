import { Combobox, Modal, ScrollArea, Text, TextInput, useCombobox } from "@mantine/core";
import { Search } from "lucide-react";
import { useEffect, useState } from "react";
import { useNavigate } from "react-router";
import { useColorScheme } from "../../hooks/useColorScheme";
import { useModelList } from "../../hooks/useModels";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { commandsOf, matching } from "./commands";
import classes from "./Palette.module.css";

/** More are not read; a longer search finds them. */
const SHOWN = 50;

interface Props {
  opened: boolean;
  onClose: () => void;
  onKeys: () => void;
}

/** One field that leads to everything by its name. */
export default function Palette(props: Props) {
  return (
    <Modal
      opened={props.opened}
      onClose={props.onClose}
      title="Go to"
      yOffset="12vh"
      classNames={{ body: classes.body }}
    >
      <Body {...props} />
    </Modal>
  );
}

function Body({ onClose, onKeys }: Props) {
  const [search, setSearch] = useState("");
  const models = useModelList();
  const system = useSystemStore((state) => state.system);
  const { toggle } = useColorScheme();
  const navigate = useNavigate();
  const combobox = useCombobox({ opened: true });
  const all = commandsOf(
    models,
    { canLoad: system?.extras.torch !== false, needsKey: system?.needs_key === true },
    {
      go: (path) => void navigate(path),
      load: (id) => void useModelsStore.getState().act(id, "load"),
      toggleColours: toggle,
      listKeys: onKeys,
    },
  );
  const found = matching(all, search, SHOWN);
  const { selectFirstOption } = combobox;
  useEffect(() => {
    selectFirstOption();
  }, [search, selectFirstOption]);
  return (
    <Combobox
      store={combobox}
      onOptionSubmit={(id) => {
        onClose();
        all.find((command) => command.id === id)?.run();
      }}
    >
      <Combobox.EventsTarget>
        <TextInput
          aria-label="Search models, pages, settings and actions"
          placeholder="A model, a page, a setting or an action"
          leftSection={<Search size={16} aria-hidden />}
          value={search}
          onChange={(event) => {
            setSearch(event.currentTarget.value);
          }}
          data-autofocus
          spellCheck={false}
          autoComplete="off"
        />
      </Combobox.EventsTarget>
      <ScrollArea.Autosize mah="50vh" type="auto" offsetScrollbars mt="xs" viewportProps={{ tabIndex: -1 }}>
        <Combobox.Options aria-label="Found">
          {found.map(({ id, label, kind }) => (
            <Combobox.Option key={id} value={id}>
              <span className={classes.option}>
                <span className={classes.label}>{label}</span>
                <span className={classes.kind}>{kind}</span>
              </span>
            </Combobox.Option>
          ))}
        </Combobox.Options>
        {found.length === 0 && (
          <Text c="dimmed" role="status" p="xs">
            Nothing has this name.
          </Text>
        )}
      </ScrollArea.Autosize>
    </Combobox>
  );
}
