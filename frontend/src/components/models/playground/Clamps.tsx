import { CloseButton } from "@mantine/core";
import { Link } from "react-router";
import type { Clamp } from "../../../lib/trial";
import { usePlaygroundStore } from "../../../stores/playgroundStore";
import { NumberField } from "../../common/NumberField";
import classes from "./Clamps.module.css";

/** The features that are held at a value while the model answers. */
export function Clamps({ id, clamps }: { id: string; clamps: Clamp[] }) {
  if (clamps.length === 0) return null;
  const change = (next: Clamp[]) => usePlaygroundStore.getState().setSettings(id, { clamps: next });
  return (
    <ul className={classes.clamps} aria-label="Clamped features">
      {clamps.map((clamp, index) => (
        <li key={`${clamp.saeId} ${clamp.feature}`} className={classes.clamp}>
          <Link to={`/training/saes/${clamp.saeId}?feature=${clamp.feature}`} title={clamp.saeName}>
            Feature {clamp.feature}
          </Link>
          <NumberField
            aria-label={`Value of feature ${clamp.feature}`}
            size="xs"
            w={96}
            value={clamp.value}
            error={clamp.value === "" ? true : undefined}
            onChange={(value) => change(clamps.with(index, { ...clamp, value }))}
          />
          <CloseButton
            size="sm"
            aria-label={`Release feature ${clamp.feature}`}
            onClick={() => change(clamps.toSpliced(index, 1))}
          />
        </li>
      ))}
    </ul>
  );
}
