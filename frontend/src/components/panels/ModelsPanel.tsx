import { Button, Group, Kbd, Modal, Tabs, Text, Title, VisuallyHidden } from "@mantine/core";
import { useHotkeys, useMediaQuery } from "@mantine/hooks";
import { FolderInput, Plus } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import { Link, useLocation, useSearchParams } from "react-router";
import { useFilteredGroups, useModelGroups } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import { TABLE_FROM } from "../../lib/columns";
import { NO_FILTER, readFilter } from "../../lib/filter";
import type { ModelGroup } from "../../lib/groups";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { useListViewStore } from "../../stores/listViewStore";
import { useModelsStore } from "../../stores/modelsStore";
import { ProblemAlert } from "../common/ProblemAlert";
import { TorchMissing } from "../common/TorchMissing";
import { TryAgain } from "../common/TryAgain";
import { ConnectionNotice } from "../common/ConnectionNotice";
import { AddLocal } from "../models/local/AddLocal";
import { BulkBar } from "../models/list/BulkBar";
import { FirstRun } from "../models/list/FirstRun";
import { HubView } from "../models/hub/HubView";
import { YardStrip } from "../models/memory/YardStrip";
import classes from "./ModelsPanel.module.css";
import { Filters, formatCountOf, NothingMatches } from "../models/list/Filters";
import { Cards } from "../models/list/Cards";
import { LazyDialog } from "../common/LazyDialog";
import { ModelTable } from "../models/list/ModelTable";
import { LoadingList } from "../models/list/LoadingList";
import { useModelActions } from "../models/useModelActions";

// Not needed to show the list.
const dialogPart = () => import("../models/DownloadDialog");
const detailsPart = () => import("./ModelPanel");

const DownloadDialog = lazyWithRetry(dialogPart);

/** Long enough after the list is there for it to be drawn and scrolled first. */
const PREFETCH_AFTER_MS = 2_000;

/** The yard, the models, and what can be done with them. Filters and dialogs live in the address. */
export function ModelsPanel() {
  useTitle("Models");
  const { search } = useLocation();
  const [parameters, setParameters] = useSearchParams();
  const { onAction, questions } = useModelActions();
  const [selected, setSelected] = useState<ReadonlySet<string> | null>(null);
  const searchField = useRef<HTMLInputElement>(null);
  const small = useMediaQuery("(max-width: 48em)", false, { getInitialValueInEffect: false });

  const load = useModelsStore((state) => state.load);
  const fetchModels = useModelsStore((state) => state.fetchModels);
  const all = useModelGroups();
  const filter = readFilter(parameters);
  const groups = useFilteredGroups(filter);
  const chosenLayout = useListViewStore((state) => state.layout);
  const columns = useListViewStore((state) => state.columns);
  const layout = chosenLayout ?? (all.length >= TABLE_FROM ? "table" : "cards");
  const view = parameters.get("view") === "hub" ? "hub" : "installed";

  const change = useCallback(
    (changes: Record<string, string | null>) =>
      setParameters(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [name, value] of Object.entries(changes)) {
            if (value === null || value === "") next.delete(name);
            else next.set(name, value);
          }
          return next;
        },
        { replace: true },
      ),
    [setParameters],
  );
  const formOpen = parameters.has("download");
  const openForm = useCallback(
    (modelId = "") =>
      setParameters((before) => {
        const next = new URLSearchParams(before);
        next.set("download", modelId);
        return next;
      }),
    [setParameters],
  );
  // A step of its own, which the way back undoes.
  const showView = useCallback(
    (value: string | null) =>
      setParameters((before) => {
        const next = new URLSearchParams(before);
        if (value === "hub") next.set("view", "hub");
        else next.delete("view");
        return next;
      }),
    [setParameters],
  );
  const adding = parameters.has("add");
  // In place, or the way back would lead into what was closed.
  const close = (name: "download" | "add") => change({ [name]: null });

  useHotkeys([
    ["/", () => whereNothingIsOpen(() => searchField.current?.focus())],
    ["n", () => whereNothingIsOpen(() => openForm())],
  ]);
  usePrefetch(load.state === "ready");

  const select = useCallback(
    ({ key }: ModelGroup, on: boolean) =>
      setSelected((before) => {
        const next = new Set(before);
        if (on) next.add(key);
        else next.delete(key);
        return next;
      }),
    [],
  );

  return (
    <div className={classes.page}>
      <Group justify="space-between" wrap="nowrap" mb={8}>
        <Title order={1}>Models</Title>
        <Group gap="xs" wrap="nowrap">
          <Button
            variant="default"
            px={small ? "xs" : undefined}
            leftSection={small ? null : <FolderInput size={16} aria-hidden />}
            component={Link}
            to={`?${withParameter(parameters, "add")}`}
          >
            Add local
          </Button>
          <Button
            // On the Hub's tab, the model that is looked at has the button that counts.
            variant={view === "hub" ? "default" : "filled"}
            leftSection={<Plus size={16} aria-hidden />}
            rightSection={small ? null : <Kbd size="xs">n</Kbd>}
            onClick={() => openForm()}
          >
            Download{small ? <VisuallyHidden> a model</VisuallyHidden> : " a model"}
          </Button>
        </Group>
      </Group>

      <TorchMissing />
      <YardStrip />

      <Tabs value={view} onChange={showView} keepMounted={false}>
        <div className={classes.tabs}>
          <Tabs.List aria-label="View">
            <Tabs.Tab value="installed">{load.state === "ready" ? `Installed (${all.length})` : "Installed"}</Tabs.Tab>
            <Tabs.Tab value="hub">Hub</Tabs.Tab>
          </Tabs.List>
          {view === "installed" && all.length > 0 && load.state !== "error" && (
            <Text size="sm" c="dimmed" className={`${classes.shown} num`} role="status">
              {formatCountOf(groups.length, all.length)}
              {load.state !== "ready" && ", more are coming"}
            </Text>
          )}
        </div>
        <Tabs.Panel value="hub">
          <HubView searchField={searchField} onChange={change} onDownload={openForm} />
        </Tabs.Panel>
        <Tabs.Panel value="installed">
          {load.state === "error" && load.error !== undefined ? (
            <ProblemAlert title="Could not load the models" problem={load.error}>
              <TryAgain onClick={() => void fetchModels()} />
            </ProblemAlert>
          ) : load.state !== "ready" && all.length === 0 ? (
            <LoadingList />
          ) : all.length === 0 ? (
            <FirstRun onStart={openForm} />
          ) : (
            <>
              <Filters
                filter={filter}
                groups={all}
                empty={groups.length === 0}
                layout={layout}
                small={small}
                onChange={change}
                searchField={searchField}
                selecting={selected !== null}
                onSelecting={(value) => setSelected(value ? new Set() : null)}
              />
              <div className={classes.list}>
                {selected !== null && (
                  <BulkBar
                    groups={all.filter(({ key }) => selected.has(key))}
                    onSelectAll={() => setSelected(new Set(groups.map(({ key }) => key)))}
                    onDone={() => setSelected(null)}
                  />
                )}
                {groups.length === 0 ? (
                  <NothingMatches filter={filter} onClear={() => change({ q: null, ...NO_FILTER })} />
                ) : layout === "table" ? (
                  <ModelTable
                    groups={groups}
                    columns={columns}
                    small={small}
                    filter={filter}
                    search={search}
                    selected={selected}
                    onSort={change}
                    onSelect={select}
                    onAction={onAction}
                  />
                ) : (
                  <Cards groups={groups} search={search} selected={selected} onSelect={select} onAction={onAction} />
                )}
              </div>
            </>
          )}
        </Tabs.Panel>
      </Tabs>

      <LazyDialog wanted={formOpen} title="Download a model" onClose={() => close("download")}>
        {(opened) => (
          <DownloadDialog
            opened={opened}
            fullScreen={small}
            initial={parameters.get("download") ?? ""}
            onLookUp={(reference) => change({ download: reference })}
            onClose={() => close("download")}
          />
        )}
      </LazyDialog>
      <Modal opened={adding} onClose={() => close("add")} title="Add local models" size={620} fullScreen={small}>
        <ConnectionNotice />
        <AddLocal onAdded={() => close("add")} />
      </Modal>
      {questions}
    </div>
  );
}

/** A key of the page's own: behind a dialogue it would move what is not seen. */
function whereNothingIsOpen(act: () => void): void {
  if (document.querySelector("[role=dialog]") === null) act();
}

/** Fetches what is opened first, so that it is there even once the server is not. */
function usePrefetch(ready: boolean): void {
  useEffect(() => {
    if (!ready) return;
    // One that cannot be fetched now is asked for again when it is opened.
    const timer = setTimeout(() => void Promise.allSettled([detailsPart(), dialogPart()]), PREFETCH_AFTER_MS);
    return () => clearTimeout(timer);
  }, [ready]);
}

function withParameter(parameters: URLSearchParams, name: string): string {
  const next = new URLSearchParams(parameters);
  next.set(name, "");
  return next.toString();
}
