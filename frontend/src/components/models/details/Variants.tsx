import { Link, useSearchParams } from "react-router";
import { useModelList } from "../../../hooks/useModels";
import { statusLabel } from "../../../lib/labels";
import { modelPath, type ModelTab } from "../../../lib/modelPath";
import type { Model, Quantization } from "../../../types/model";
import { PrecisionBadge } from "../../common/PrecisionBadge";
import classes from "./Variants.module.css";

const ORDER: Quantization[] = ["none", "8bit", "4bit"];

/** The precisions and versions of the model that are here, and its adapters; each leads to the same view of its own. */
export function Variants({ model, tab }: { model: Model; tab: ModelTab }) {
  const models = useModelList();
  const [parameters] = useSearchParams();
  const versions = models
    .filter(({ canonical_id, endpoint }) => canonical_id === model.canonical_id && endpoint === model.endpoint)
    .sort((a, b) => a.commit.localeCompare(b.commit) || rank(a) - rank(b));
  const adapters = models.filter(({ base_id }) => base_id === model.id);
  const commits = new Set(versions.map(({ commit }) => commit)).size;
  if (versions.length < 2 && adapters.length === 0)
    return (
      <div>
        <PrecisionBadge quantization={model.quantization} />
      </div>
    );
  return (
    <nav aria-label="Precisions">
      <ul className={classes.variants}>
        {versions.map((row) => (
          <li key={row.id}>
            <Link
              to={modelPath(row.id, tab, parameters)}
              className={classes.variant}
              aria-current={row.id === model.id ? "page" : undefined}
            >
              <PrecisionBadge quantization={row.quantization} />
              {commits > 1 && <span className="mono">{row.commit.slice(0, 7)}</span>}
              <State row={row} />
            </Link>
          </li>
        ))}
        {adapters.map((row) => (
          <li key={row.id}>
            <Link to={modelPath(row.id, tab, parameters)} className={classes.variant}>
              Adapter {row.name}
              <State row={row} />
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** What is not as it is expected: a ready model says nothing. */
function State({ row }: { row: Model }) {
  if (row.loaded) return <span className={classes.loaded}>loaded</span>;
  return row.status === "ready" ? null : <span>{statusLabel(row).toLowerCase()}</span>;
}

function rank({ quantization }: Model): number {
  return ORDER.indexOf(quantization);
}
