import { Tabs, VisuallyHidden } from "@mantine/core";
import { type ReactNode, Suspense, useEffect, useRef } from "react";
import { useSearchParams } from "react-router";
import { getArchitecture } from "../../../api/models";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import { useTorchReason } from "../../../hooks/useTorchReason";
import { sourceOf } from "../../../lib/labels";
import { MODEL_TABS, tabIn } from "../../../lib/modelPath";
import type { Live, Pending } from "../../../types/feed";
import type { Model } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { TorchMissing } from "../../common/TorchMissing";
import type { CardAction } from "../card/actions";
import { CardView } from "./CardView";
import { FilesView } from "./Files";
import { HistoryView } from "./HistoryView";
import classes from "./ModelDetails.module.css";
import { ModelProblem } from "./ModelProblem";
import { Overview } from "./Overview";
import { Summary } from "./Summary";

const ArchitectureView = lazyWithRetry(() => import("../architecture/ArchitectureView"));
const Playground = lazyWithRetry(() => import("../playground/Playground"));

export interface Props {
  model: Model;
  live: Live | undefined;
  pending: Pending | undefined;
  onAction: (model: Model, action: CardAction) => void;
  /** The training runs on this model. */
  training: ReactNode;
}

/** Everything known of one model: what it is on the left, one view of it on the right. The view is in the address. */
export function ModelDetails({ model, live, pending, onAction, training }: Props) {
  const [parameters, setParameters] = useSearchParams();
  const tab = tabIn(parameters);
  const torch = useTorchReason();
  const busy = pending !== undefined;
  const strip = useRef<HTMLDivElement>(null);
  const open = (value: string | null) =>
    setParameters((before) => {
      const next = new URLSearchParams(before);
      next.delete("file");
      if (value === null || value === "overview") next.delete("tab");
      else next.set("tab", value);
      return next;
    });
  // On a phone not all names are side by side.
  useEffect(() => {
    const chosen = strip.current?.querySelector<HTMLElement>("[aria-selected=true]");
    chosen?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [tab]);
  return (
    <div className={classes.page}>
      <Summary model={model} live={live} pending={pending} tab={tab} onAction={onAction} onTry={() => open("try")} />
      <div className={classes.content}>
        <TorchMissing />
        <ModelProblem model={model} busy={busy} onAction={onAction} />
        <Tabs value={tab} onChange={open} keepMounted={false}>
          <Tabs.List ref={strip} className={classes.tabs} aria-label="Views">
            {MODEL_TABS.map(([value, word]) => (
              <Tabs.Tab
                key={value}
                value={value}
                disabled={value === "try" && torch !== undefined}
                title={value === "try" ? torch : undefined}
              >
                {word}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          {/* What the headings of a view are below. */}
          <VisuallyHidden component="h2">{MODEL_TABS.find(([value]) => value === tab)?.[1]}</VisuallyHidden>
          <Suspense fallback={<Placeholder h={200} label="Loading" />}>
            <Tabs.Panel value="overview" pt="md">
              <Overview model={model} busy={busy} onAction={onAction} />
            </Tabs.Panel>
            <Tabs.Panel value="card" pt="md">
              <CardView key={model.id} model={model} />
            </Tabs.Panel>
            <Tabs.Panel value="architecture" pt="md">
              <ArchitectureView
                about={`${model.id}@${model.commit}`}
                load={(signal) => getArchitecture(model.id, signal)}
                source={sourceOf(model)}
              />
            </Tabs.Panel>
            <Tabs.Panel value="files" pt="md">
              <FilesView model={model} live={live} onAction={onAction} />
            </Tabs.Panel>
            <Tabs.Panel value="try" pt="md" className={classes.chat}>
              <Playground key={model.id} model={model} />
            </Tabs.Panel>
            <Tabs.Panel value="training" pt="md">
              {training}
            </Tabs.Panel>
            <Tabs.Panel value="history" pt="md">
              <HistoryView key={model.id} model={model} />
            </Tabs.Panel>
          </Suspense>
        </Tabs>
      </div>
    </div>
  );
}
