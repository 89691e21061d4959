import { Button, Text } from "@mantine/core";
import { useState } from "react";
import { useSearchParams } from "react-router";
import { buildFeatures } from "../../../api/saes";
import { useTraining } from "../../../hooks/useTrainings";
import { formatBytes } from "../../../lib/bytes";
import { isAtWork } from "../../../lib/sae";
import type { Sae } from "../../../types/sae";
import { Section } from "../../common/Section";
import { useEngine } from "../EngineMissing";
import { SaeTextForm } from "../SaeTextForm";
import { FeatureDetail } from "./FeatureDetail";
import { FeatureList } from "./FeatureList";
import classes from "./features.module.css";
import { TextTrial } from "./TextTrial";

const TOKENS = 200_000;
const TOP = 20;

/** What the features of an SAE stand for: pages built of a text, and a text to try. The address names the one shown. */
export function SaeFeatures({ sae, onStarted }: { sae: Sae; onStarted: () => void }) {
  const [parameters, setParameters] = useSearchParams();
  const engine = useEngine();
  const named = parameters.get("feature");
  const shown = named !== null && /^\d{1,9}$/.test(named) ? Number(named) : null;
  const show = (index: number) =>
    setParameters(
      (now) => {
        now.set("feature", String(index));
        return now;
      },
      { replace: true, preventScrollReset: true },
    );
  const facts = sae.features;
  return (
    <Section label="Features" id="features">
      {facts !== null && (
        <>
          <Text size="sm" c="dimmed" className="num" mb="md">
            {facts.active_features.toLocaleString("en")} of {sae.d_sae?.toLocaleString("en") ?? "unknown"} are active in{" "}
            {facts.tokens.toLocaleString("en")} tokens of {facts.dataset.path.split("/").pop()}; their pages take{" "}
            {formatBytes(facts.size_bytes)}
          </Text>
          <div className={classes.columns}>
            <FeatureList id={sae.id} built={facts.built_at} selected={shown} onSelect={show} />
            <FeatureDetail sae={sae} built={facts.built_at} index={shown} />
          </div>
        </>
      )}
      <Build sae={sae} onStarted={onStarted} />
      {engine !== false && sae.compatible_with.length > 0 && <TextTrial sae={sae} selected={shown} onSelect={show} />}
    </Section>
  );
}

function Build({ sae, onStarted }: { sae: Sae; onStarted: () => void }) {
  const { training, load } = useTraining(sae.training_id);
  const engine = useEngine();
  const [asking, setAsking] = useState(false);
  const built = sae.features !== null;
  // What the run was trained on is the first suggestion, so the form waits for it.
  const known = sae.training_id === null || load.state === "ready" || load.state === "error";
  return (
    <>
      {!built && (
        <Text size="sm" c="dimmed" mb="md">
          The model reads a text; for each feature the passages it is most active in are kept, with the tokens it
          promotes.
        </Text>
      )}
      {isAtWork(sae) || engine === false || !known ? null : asking ? (
        <SaeTextForm
          action="Build"
          start={(request) => buildFeatures(sae.id, { ...request, top: TOP })}
          tokens={TOKENS}
          description="At most; all rows are read"
          text={training?.dataset}
          onStarted={() => {
            setAsking(false);
            onStarted();
          }}
        />
      ) : (
        <Button variant="default" size="xs" onClick={() => setAsking(true)}>
          {built ? "Build again…" : "Build feature pages…"}
        </Button>
      )}
    </>
  );
}
