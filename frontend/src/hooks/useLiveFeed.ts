import { useEffect } from "react";
import { eventsUrl, overheard, webSocketTransport } from "../api/socket";
import { useModelsStore } from "../stores/modelsStore";
import { useSystemStore } from "../stores/systemStore";
import { useTrainingsStore } from "../stores/trainingsStore";

const SYSTEM_EVERY_MS = 10_000;
const SYSTEM_AFTER_CHANGE_MS = 400;
const QUIET_MS = 20_000;

/** Keeps the stores in step with the server for as long as the page is open. */
export function useLiveFeed(): void {
  useEffect(() => {
    const feed = overheard(webSocketTransport(eventsUrl()), useTrainingsStore.getState().receive);
    return useModelsStore.getState().connect(feed);
  }, []);

  useEffect(() => {
    const { refresh } = useSystemStore.getState();
    void refresh();
    const poll = setInterval(() => {
      if (!document.hidden) void refresh();
    }, SYSTEM_EVERY_MS);

    let soon: ReturnType<typeof setTimeout> | undefined;
    const unsubscribe = useModelsStore.subscribe((state, before) => {
      if (state.byId === before.byId) return;
      clearTimeout(soon);
      soon = setTimeout(() => void refresh(), SYSTEM_AFTER_CHANGE_MS);
    });

    const onVisible = () => {
      if (document.hidden) return;
      void refresh();
      const { lastAt, fetchModels, reconnect } = useModelsStore.getState();
      reconnect();
      // A sleeping tab or machine may have missed messages without the socket noticing.
      if (Date.now() - lastAt <= QUIET_MS) return;
      void fetchModels();
      const trainings = useTrainingsStore.getState();
      if (trainings.load.state !== "idle") void trainings.fetchTrainings();
    };
    document.addEventListener("visibilitychange", onVisible);
    return () => {
      clearInterval(poll);
      clearTimeout(soon);
      unsubscribe();
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, []);
}
