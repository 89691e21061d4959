import { Button, TextInput } from "@mantine/core";
import { useState } from "react";
import { getModelInfo } from "../../api/models";
import { useResource } from "../../hooks/useResource";
import { type ModelReference, parseModelReference } from "../../lib/modelId";
import { useSystemStore } from "../../stores/systemStore";
import type { Model, ModelInfo } from "../../types/model";
import { Placeholder } from "../common/Placeholder";
import { HubUnreachable } from "./hub/HubUnreachable";
import classes from "./ModelDownloadForm.module.css";
import { HubSearch } from "./download/HubSearch";
import { InfoProblem } from "./download/LookupProblem";
import { Chosen } from "./download/DownloadOptions";

interface Props {
  /** A model to look up at once. */
  initial: string;
  /** What is shown now, as `initial` takes it, so that the way to the settings and back leads to the same model. */
  onLookUp?: (reference: string) => void;
  onDone: (model: Model) => void;
}

/** From a name to a started download: search, preview, precision with its memory, disk, go. */
export function ModelDownloadForm({ initial, onLookUp, onDone }: Props) {
  const [target, setTarget] = useState<ModelReference | null>(() => parseModelReference(initial));
  const [text, setText] = useState(target?.model_id ?? initial);
  const [revision, setRevision] = useState(target?.revision ?? "");
  const [invalid, setInvalid] = useState(false);

  const builtin = useSystemStore((state) => state.system?.hub.endpoint_source === "builtin");

  const info = useResource(target === null ? null : `${target.model_id}@${target.revision ?? ""}`, (signal) =>
    target === null ? Promise.reject(new Error("no model")) : getModelInfo(target.model_id, target.revision, signal),
  );

  function lookUp(value: string, at = revision) {
    const reference = parseModelReference(value);
    setInvalid(reference === null);
    if (reference === null) return;
    if (reference.revision !== null) setRevision(reference.revision);
    const wanted = reference.revision ?? (at.trim() === "" ? null : at.trim());
    setTarget({ model_id: reference.model_id, revision: wanted });
    onLookUp?.(wanted === null ? reference.model_id : `${reference.model_id}@${wanted}`);
  }

  return (
    <div className={classes.form}>
      <form
        className={classes.lookup}
        onSubmit={(event) => {
          event.preventDefault();
          lookUp(text);
        }}
      >
        <HubSearch
          text={text}
          invalid={invalid}
          current={target?.model_id ?? null}
          onText={(value) => {
            setText(value);
            setInvalid(false);
          }}
          onPick={lookUp}
        />
        <div className={classes.at}>
          <TextInput
            label="Revision"
            placeholder="default branch"
            value={revision}
            onChange={(event) => setRevision(event.currentTarget.value)}
          />
          <Button type="submit" variant="default" disabled={text.trim() === ""}>
            Look up
          </Button>
        </div>
      </form>

      {info.loading && (
        <Placeholder
          h={420}
          label={builtin ? "Asking the sample Hub, which creates the sample on its first request" : "Asking the Hub"}
        />
      )}
      {info.problem !== null &&
        (info.problem.code === "hub_unreachable" ? (
          <HubUnreachable problem={info.problem} onRetry={info.reload} />
        ) : (
          <InfoProblem problem={info.problem} target={target} onRetry={info.reload} />
        ))}
      {info.data !== null && (
        <Chosen
          key={`${info.data.model_id}@${info.data.commit}`}
          info={info.data}
          revision={target?.revision ?? null}
          onRecheck={info.reload}
          onDone={onDone}
        />
      )}
    </div>
  );
}

export interface ChosenProps {
  info: ModelInfo;
  revision: string | null;
  onRecheck: () => void;
  onDone: (model: Model) => void;
}
