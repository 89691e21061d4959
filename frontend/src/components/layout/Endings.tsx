import { Button } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useEffect, useEffectEvent } from "react";
import { useLocation, useNavigate } from "react-router";
import { notifyInBackground } from "../../lib/browserNotifications";
import { type Ending, modelEndings, trainingEndings } from "../../lib/endings";
import { toastEnding } from "../../lib/toast";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import { useTrainingsStore } from "../../stores/trainingsStore";

/** Tells when work comes to an end, with the next step; in the browser's own way too where that is wanted. */
export function Endings() {
  const navigate = useNavigate();
  const { pathname } = useLocation();

  const tell = useEffectEvent((ending: Ending) => {
    const { next, id } = ending;
    const go = () => {
      notifications.hide(id);
      if ("load" in next) void useModelsStore.getState().act(next.load, "load");
      else void navigate(next.path);
    };
    notifyInBackground(ending, () => void navigate(next.path));
    // The page of what ended says it already.
    if (!document.hidden && pathname === next.path.split("?")[0]) return;
    toastEnding(
      ending,
      <Button size="compact-sm" variant="default" mt={8} onClick={go}>
        {next.label}
      </Button>,
    );
  });

  useEffect(() => {
    const asked = new Set<string>();
    return useModelsStore.subscribe((state, before) => {
      for (const [id, { op }] of Object.entries(state.pending)) if (op === "load") asked.add(id);
      if (state.byId === before.byId || before.load.state !== "ready") return;
      const canLoad = useSystemStore.getState().system?.extras.torch !== false;
      for (const ending of modelEndings(before, state, asked, canLoad)) {
        asked.delete(ending.id);
        tell(ending);
      }
    });
  }, []);
  useEffect(
    () =>
      useTrainingsStore.subscribe((state, before) => {
        if (state.byId !== before.byId) trainingEndings(before.byId, state.byId).forEach((ending) => tell(ending));
      }),
    [],
  );
  return null;
}
