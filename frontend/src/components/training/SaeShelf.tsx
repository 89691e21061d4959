import { Button, Group, Modal, Text } from "@mantine/core";
import { Plus } from "lucide-react";
import { useState } from "react";
import { Link } from "react-router";
import { useSaes } from "../../hooks/useSaes";
import { formatCount } from "../../lib/bytes";
import { isAtWork, percent, SOURCE_LABEL, workLabel } from "../../lib/sae";
import type { Sae } from "../../types/sae";
import { Placeholder } from "../common/Placeholder";
import { ProblemAlert } from "../common/ProblemAlert";
import { Section } from "../common/Section";
import { TryAgain } from "../common/TryAgain";
import { AddSae } from "./AddSae";
import classes from "./SaeShelf.module.css";

/** The sparse autoencoders that are here, or those trained on one model; a table that compares them. */
export function SaeShelf({ modelId = null }: { modelId?: string | null }) {
  const { data: saes, problem, reload } = useSaes(modelId);
  const [adding, setAdding] = useState(false);
  return (
    <Section label="Sparse autoencoders">
      {problem !== null && (
        <ProblemAlert title="Could not load the sparse autoencoders" problem={problem}>
          <TryAgain onClick={reload} />
        </ProblemAlert>
      )}
      {saes === null && problem === null && <Placeholder h={96} label="Loading the sparse autoencoders" />}
      {saes !== null && saes.length > 0 && <Comparison saes={saes} />}
      {saes?.length === 0 && (
        <Text c="dimmed" size="sm">
          {modelId === null
            ? "Completed training runs appear here. Others are imported from a folder or fetched from a Hub."
            : "None is trained on this model yet."}
        </Text>
      )}
      {saes !== null && (
        <Group mt="sm">
          <Button
            variant="default"
            size="xs"
            leftSection={<Plus size={14} aria-hidden />}
            onClick={() => setAdding(true)}
          >
            Add an SAE…
          </Button>
        </Group>
      )}
      <Modal opened={adding} onClose={() => setAdding(false)} title="Add a sparse autoencoder">
        <AddSae
          onDone={() => {
            setAdding(false);
            reload();
          }}
        />
      </Modal>
    </Section>
  );
}

function Comparison({ saes }: { saes: Sae[] }) {
  return (
    <div className={classes.scroll} tabIndex={0} role="region" aria-label="Comparison of sparse autoencoders">
      <table className={`${classes.table} num`}>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Hook point</th>
            <th scope="col" data-right>
              Features
            </th>
            <th scope="col">Architecture</th>
            <th scope="col">Source</th>
            <th scope="col" data-right title="Mean over the tokens of the text it was evaluated on">
              Explained variance
            </th>
            <th scope="col" data-right>
              Loss recovered
            </th>
            <th scope="col" data-right>
              L0
            </th>
            <th scope="col" data-right>
              Never active
            </th>
          </tr>
        </thead>
        <tbody>
          {saes.map((sae) => (
            <Row key={sae.id} sae={sae} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ sae }: { sae: Sae }) {
  const found = sae.evaluation;
  return (
    <tr>
      <th scope="row">
        <Link to={`/training/saes/${sae.id}`}>{sae.name}</Link>
        <State sae={sae} />
      </th>
      <td className="mono">{sae.hook_point ?? "unknown"}</td>
      <td data-right>{formatCount(sae.d_sae)}</td>
      <td>{sae.architecture ?? "unknown"}</td>
      <td>{SOURCE_LABEL[sae.source]}</td>
      {found === null ? (
        <td colSpan={4} className={classes.unjudged}>
          Not evaluated
        </td>
      ) : (
        <>
          <td data-right>{found.explained_variance_per_token?.toFixed(3) ?? "unknown"}</td>
          <td data-right>{percent(found.loss_recovered)}</td>
          <td data-right>{found.l0?.toFixed(1) ?? "unknown"}</td>
          <td data-right>{formatCount(found.dead_features)}</td>
        </>
      )}
    </tr>
  );
}

/** What is to be said of it in a word: work under way, or that it is not here. */
function State({ sae }: { sae: Sae }) {
  const work = isAtWork(sae) ? sae.work : null;
  if (work === null && sae.status === "ready") return null;
  return <span className={classes.state}>{work === null ? sae.status : workLabel(work)}</span>;
}
