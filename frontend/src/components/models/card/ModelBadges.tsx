import { ArrowUpCircle, BrainCircuit, FileCode2, KeyRound, Puzzle } from "lucide-react";
import { Link } from "react-router";
import { useNewerRow } from "../../../hooks/useModels";
import type { Model } from "../../../types/model";
import classes from "./ModelBadges.module.css";

interface Props {
  model: Model;
  filesHref: string;
  /** Left out where more is said of training elsewhere. */
  training?: boolean;
}

/** What is to be known of a model before it is relied on; nothing where nothing is. */
export function ModelBadges({ model, filesHref, training = true }: Props) {
  const newer = useNewerRow(model);
  const obstacle = training ? trainingLabel(model) : null;
  const { adapter } = model;
  if (
    adapter === null &&
    !model.gated &&
    !model.has_custom_code &&
    model.update_available !== true &&
    obstacle === null
  )
    return null;
  return (
    <ul className={classes.badges} aria-label={`About ${model.name}`}>
      {model.update_available === true && (
        <li>
          <Link to={filesHref} className={classes.badge} data-tone="accent">
            <ArrowUpCircle size={12} aria-hidden />
            {newer === undefined ? "Update available" : "Newer version installed"}
          </Link>
        </li>
      )}
      {adapter !== null && (
        <li
          className={classes.badge}
          title={model.base_id === null ? `${adapter.base_model} is not installed` : undefined}
        >
          <Puzzle size={12} aria-hidden />
          {model.base_id === null ? "Base missing: " : "Adapter of "}
          {adapter.base_model}
        </li>
      )}
      {model.gated && (
        <li className={classes.badge} title="Access requires accepting the authors' terms">
          <KeyRound size={12} aria-hidden />
          Gated
        </li>
      )}
      {model.has_custom_code && (
        <li className={classes.badge} title="The repository contains custom code, which is never run">
          <FileCode2 size={12} aria-hidden />
          Custom code
        </li>
      )}
      {obstacle !== null && (
        <li className={classes.badge} title={model.training?.reasons.map((reason) => reason.message).join(" ")}>
          <BrainCircuit size={12} aria-hidden />
          {obstacle}
        </li>
      )}
    </ul>
  );
}

/** What stands in the way of training an SAE on it; "not verified" is no refusal. */
function trainingLabel({ adapter, training }: Model): string | null {
  if (adapter !== null) return null;
  if (training?.compatible === false) return "No SAE training";
  return training?.compatible === null ? "SAE training not verified" : null;
}
