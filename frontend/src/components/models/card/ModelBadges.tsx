import { Archive, ArrowUpCircle, BrainCircuit, FileCode2, KeyRound, Pin, Puzzle } from "lucide-react";
import { Link } from "react-router";
import { useComingVersion } from "../../../hooks/useModels";
import { isOutdated } from "../../../lib/versions";
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
  const coming = useComingVersion(model);
  const outdated = isOutdated(model);
  const replaced = model.replaced_by !== null;
  const pinned = model.pinned_commit !== null;
  const obstacle = training ? trainingLabel(model) : null;
  const { adapter } = model;
  if (
    adapter === null &&
    !model.gated &&
    !model.has_custom_code &&
    !outdated &&
    !replaced &&
    !pinned &&
    obstacle === null
  )
    return null;
  return (
    <ul className={classes.badges} aria-label={`About ${model.name}`}>
      {replaced && (
        <li>
          <Link to={filesHref} className={classes.badge} title="Another version is used under this name">
            <Archive size={12} aria-hidden />
            Replaced
          </Link>
        </li>
      )}
      {pinned && (
        <li className={classes.badge} title="No updates are offered">
          <Pin size={12} aria-hidden />
          Pinned
        </li>
      )}
      {outdated && (
        <li>
          <Link to={filesHref} className={classes.badge} data-tone="accent">
            <ArrowUpCircle size={12} aria-hidden />
            {coming === undefined ? "Update available" : "Updating"}
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
