import { Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { featuresForText } from "../../../api/saes";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { formatActivation, formatShare } from "../../../lib/sae";
import { visibleToken } from "../../../lib/tokens";
import type { Sae, SaeTextFeatures } from "../../../types/sae";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { Subheading } from "../../common/Subheading";
import classes from "./features.module.css";
import { Highlighted } from "./Highlighted";

interface Props {
  sae: Sae;
  selected: number | null;
  onSelect: (index: number) => void;
}

/** Which features are active in a text; the one that is chosen is marked in it. */
export function TextTrial({ sae, selected, onSelect }: Props) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [found, setFound] = useState<SaeTextFeatures | null>(null);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function read() {
    setBusy(true);
    setProblem(null);
    try {
      setFound(await featuresForText(sae.id, text));
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <form
      className={classes.trial}
      onSubmit={(event) => {
        event.preventDefault();
        void read();
      }}
    >
      <Subheading>Try a text</Subheading>
      <Textarea
        label="Text"
        description="Up to 512 tokens; the model is loaded first where it is not"
        autosize
        minRows={2}
        maxRows={8}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <ServerButton type="submit" loading={busy} disabled={text.trim() === ""}>
        Find features
      </ServerButton>
      {problem !== null && <ProblemAlert title="The text was not read" problem={problem} />}
      {found !== null && <Found found={found} selected={selected} onSelect={onSelect} />}
    </form>
  );
}

function Found({ found, selected, onSelect }: { found: SaeTextFeatures } & Omit<Props, "sae">) {
  const { tokens, features } = found;
  if (features.length === 0)
    return (
      <Text size="sm" role="status">
        No feature is active in this text.
      </Text>
    );
  const shown = features.find(({ index }) => index === selected) ?? features[0];
  return (
    <>
      {shown !== undefined && (
        <Highlighted
          tokens={tokens.map((token, place) => ({ text: token.text, activation: shown.activations[place] ?? 0 }))}
          largest={shown.max}
          position={shown.position}
        />
      )}
      <Text size="sm" c="dimmed" role="status" className="num">
        {found.active_features.toLocaleString("en")} features are active
        {features.length < found.active_features && `; the ${features.length} most active ones`}
      </Text>
      <ul className={classes.active} aria-label="Active features">
        {features.map(({ index, max, position, density }) => (
          <li key={index}>
            <button type="button" aria-pressed={index === shown?.index} onClick={() => onSelect(index)}>
              <b>{index}</b>
              <span className="num">{formatActivation(max)}</span>
              <span className="mono truncate">{visibleToken(tokens[position]?.text ?? "")}</span>
              {density !== null && <span className="num">on {formatShare(density)}</span>}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
