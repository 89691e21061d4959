import { Button, Group, Kbd, Modal, NativeSelect, Skeleton, Tabs, Text, Title } from "@mantine/core";
import { useHotkeys, useMediaQuery, useMounted } from "@mantine/hooks";
import { FolderInput, Plus } from "lucide-react";
import { memo, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useNavigate, useParams, useSearchParams } from "react-router";
import { useOfflineReason } from "../../hooks/useOfflineReason";
import { useFilteredIds, useLive, useModel, useModelList, usePending } from "../../hooks/useModels";
import { useMemoryPlace } from "../../hooks/useMemoryPlace";
import { useTitle } from "../../hooks/useTitle";
import { fetchedBytes, losesWork } from "../../lib/cancel";
import {
  countGroups,
  type ModelFilter,
  readFilter,
  SORT_LABEL,
  SORTS,
  STATUS_GROUP_LABEL,
  STATUS_GROUPS,
} from "../../lib/filter";
import { cssHeightVariable } from "../../lib/cssHeightVariable";
import { lazyWithRetry } from "../../hooks/lazyWithRetry";
import { QUANTIZATION_LABEL } from "../../lib/labels";
import type { Place } from "../../lib/yard";
import { type Ghost, useGhostStore } from "../../stores/ghostStore";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import type { Device, Model } from "../../types/model";
import { ConfirmCancel } from "../common/ConfirmCancel";
import { ConfirmDelete } from "../common/ConfirmDelete";
import { EmptyState } from "../common/EmptyState";
import { ProblemAlert } from "../common/ProblemAlert";
import { TryAgain } from "../common/TryAgain";
import { SearchField } from "../common/SearchField";
import { ConnectionNotice } from "../common/ConnectionNotice";
import { AddLocal } from "../models/local/AddLocal";
import { BulkBar } from "../models/list/BulkBar";
import { FirstRun } from "../models/list/FirstRun";
import { HubView } from "../models/hub/HubView";
import { type CardAction, ModelCard } from "../models/ModelCard";
import { ModelGrid } from "../models/list/ModelGrid";
import { QuantizeDialog, type QuantizeWish } from "../models/drawer/QuantizeDialog";
import { Yard } from "../models/memory/Yard";
import classes from "./ModelsPanel.module.css";

// Not needed to show the list.
const dialogPart = () => import("../models/DownloadDialog");
const drawerPart = () => import("../models/drawer/ModelDrawer");
const DownloadDialog = lazyWithRetry(dialogPart);
const ModelDrawer = lazyWithRetry(drawerPart);

/** Long enough after the list is there for it to be drawn and scrolled first. */
const PREFETCH_AFTER_MS = 2_000;

const yardHeight = cssHeightVariable("--y-yard-height");

/** The yard, the models, and what can be done with them. Filters and dialogs live in the address. */
export function ModelsPanel() {
  const { id } = useParams();
  const open = useModel(id ?? "")?.name;
  useTitle(open === undefined ? "Models" : `${open} · Models`);
  const navigate = useNavigate();
  const { search } = useLocation();
  const [parameters, setParameters] = useSearchParams();
  const [deleting, setDeleting] = useState<Model | null>(null);
  const [originalOnly, setOriginalOnly] = useState(false);
  const [quantizing, setQuantizing] = useState<QuantizeWish | null>(null);
  const [cancelling, setCancelling] = useState<string | null>(null);
  const [selected, setSelected] = useState<ReadonlySet<string> | null>(null);
  const searchField = useRef<HTMLInputElement>(null);
  const small = useMediaQuery("(max-width: 48em)", false, { getInitialValueInEffect: false });

  const load = useModelsStore((state) => state.load);
  const fetchModels = useModelsStore((state) => state.fetchModels);
  const act = useModelsStore((state) => state.act);
  const models = useModelList();
  const filter = readFilter(parameters);
  const ids = useFilteredIds(filter);
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
  const adding = parameters.has("add");
  // In place, or the way back would lead into what was closed.
  const close = (name: "download" | "add") => afterThisKey(() => change({ [name]: null }));

  useHotkeys([
    ["/", () => whereNothingIsOpen(() => searchField.current?.focus())],
    ["n", () => whereNothingIsOpen(() => openForm())],
  ]);
  usePrefetch(load.state === "ready");
  const keep = useCallback(() => afterThisKey(() => setCancelling(null)), []);

  const onAction = useCallback(
    (model: Model, action: CardAction) => {
      if (action === "delete" || action === "drop-original") {
        setDeleting(model);
        setOriginalOnly(action === "drop-original");
      } else if (action === "quantize-4bit") setQuantizing({ model, quantization: "4bit" });
      else if (action === "quantize-8bit") setQuantizing({ model, quantization: "8bit" });
      else if (action === "cancel" && losesWork(model, useModelsStore.getState().live[model.id]))
        setCancelling(model.id);
      else void act(model.id, action);
    },
    [act],
  );

  const select = useCallback(
    (model: Model, on: boolean) =>
      setSelected((before) => {
        const next = new Set(before);
        if (on) next.add(model.id);
        else next.delete(model.id);
        return next;
      }),
    [],
  );

  return (
    <div className={classes.page}>
      <Group justify="space-between" mb="md">
        <Title order={1}>Models</Title>
        <Group gap="xs">
          <Button
            variant="default"
            leftSection={<FolderInput size={16} aria-hidden />}
            component={Link}
            to={`?${withParameter(parameters, "add")}`}
          >
            Add local
          </Button>
          <Button
            leftSection={<Plus size={16} aria-hidden />}
            rightSection={small ? null : <Kbd size="xs">n</Kbd>}
            onClick={() => openForm()}
          >
            Download a model
          </Button>
        </Group>
      </Group>

      <section ref={yardHeight} className={classes.panel} aria-label="The yard">
        <PointedYard />
      </section>

      <Tabs value={view} onChange={(value) => change({ view: value === "hub" ? "hub" : null })} keepMounted={false}>
        <div className={classes.tabs}>
          <Tabs.List aria-label="View">
            <Tabs.Tab value="installed">
              {load.state === "ready" ? `Installed (${models.length})` : "Installed"}
            </Tabs.Tab>
            <Tabs.Tab value="hub">Hub</Tabs.Tab>
          </Tabs.List>
          {view === "installed" && models.length > 0 && load.state !== "error" && (
            <Text size="sm" c="dimmed" className={`${classes.shown} num`} role="status">
              {formatCountOf(ids.length, models.length)}
              {load.state !== "ready" && ", more are coming"}
            </Text>
          )}
        </div>
        <Tabs.Panel value="hub">
          <HubView searchField={searchField} onChange={change} onDownload={openForm} />
        </Tabs.Panel>
        <Tabs.Panel value="installed">
          {load.state === "error" && load.error !== undefined ? (
            <ProblemAlert title="The models could not be read" problem={load.error}>
              <TryAgain onClick={() => void fetchModels()} />
            </ProblemAlert>
          ) : load.state !== "ready" && models.length === 0 ? (
            <Loading />
          ) : models.length === 0 ? (
            <FirstRun onStart={openForm} />
          ) : (
            <>
              <Filters
                filter={filter}
                models={models}
                empty={ids.length === 0}
                onChange={change}
                searchField={searchField}
                selecting={selected !== null}
                small={small}
                onSelecting={(value) => setSelected(value ? new Set() : null)}
              />
              <div className={classes.list}>
                {selected !== null && (
                  <BulkBar
                    models={models.filter((model) => selected.has(model.id))}
                    onSelectAll={() => setSelected(new Set(ids))}
                    onDone={() => setSelected(null)}
                  />
                )}
                {ids.length === 0 ? (
                  <NothingMatches
                    filter={filter}
                    onClear={() => change({ q: null, status: null, quantization: null })}
                  />
                ) : (
                  <Cards ids={ids} search={search} selected={selected} onSelect={select} onAction={onAction} />
                )}
              </div>
            </>
          )}
        </Tabs.Panel>
      </Tabs>

      <FromFirstUse wanted={formOpen} title="Download a model" onClose={() => close("download")}>
        {(opened) => (
          <DownloadDialog
            opened={opened}
            fullScreen={small}
            initial={parameters.get("download") ?? ""}
            onLookUp={(reference) => change({ download: reference })}
            onClose={() => close("download")}
          />
        )}
      </FromFirstUse>
      <Modal
        opened={adding}
        onClose={() => close("add")}
        title="Add models that are here already"
        size={620}
        fullScreen={small}
      >
        <ConnectionNotice />
        <AddLocal onAdded={() => close("add")} />
      </Modal>
      <OpenDrawer
        id={id}
        loading={load.state !== "ready"}
        covered={deleting !== null || quantizing !== null || cancelling !== null || formOpen || adding}
        onClose={() => void navigate({ pathname: "/models", search: withoutTab(search) })}
        onAction={onAction}
      />
      <ConfirmDelete
        model={deleting}
        originalOnly={originalOnly}
        onClose={() => afterThisKey(() => setDeleting(null))}
      />
      <QuantizeDialog wish={quantizing} onClose={() => afterThisKey(() => setQuantizing(null))} />
      <ConfirmCancel id={cancelling} onClose={keep} />
    </div>
  );
}

/** The same press of Esc reaches the drawer below, which has to find itself covered still. */
function afterThisKey(close: () => void): void {
  setTimeout(close);
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
    const timer = setTimeout(() => void Promise.allSettled([drawerPart(), dialogPart()]), PREFETCH_AFTER_MS);
    return () => clearTimeout(timer);
  }, [ready]);
}

function withParameter(parameters: URLSearchParams, name: string): string {
  const next = new URLSearchParams(parameters);
  next.set(name, "");
  return next.toString();
}

function withoutTab(search: string): string {
  const parameters = new URLSearchParams(search);
  parameters.delete("tab");
  return parameters.toString();
}

/** What is fetched and mounted once it is wanted, and stays then, so that it can fade when it is closed. */
function FromFirstUse({ wanted, title, onClose, children }: FromFirstUseProps) {
  const [used, setUsed] = useState(wanted);
  if (wanted && !used) setUsed(true);
  return used ? (
    <Suspense fallback={<LazyFallback wanted={wanted} title={title} onClose={onClose} />}>
      <MountedClosed wanted={wanted}>{children}</MountedClosed>
    </Suspense>
  ) : null;
}

interface FromFirstUseProps {
  wanted: boolean;
  /** What it is called while it is not there. */
  title: string;
  onClose: () => void;
  children: (opened: boolean) => React.ReactNode;
}

/** In the place of what cannot be fetched, because the server does not answer; otherwise it is there at once. */
function LazyFallback({ wanted, title, onClose }: Omit<FromFirstUseProps, "children">) {
  const away = useOfflineReason();
  return (
    <Modal opened={wanted && away !== undefined} onClose={onClose} title={title}>
      <ConnectionNotice />
      <Text role="status">This appears once the server answers.</Text>
    </Modal>
  );
}

/** A dialogue that is mounted open does not know where the focus was, and could not give it back. */
function MountedClosed({ wanted, children }: Pick<FromFirstUseProps, "wanted" | "children">) {
  const mounted = useMounted();
  return children(wanted && mounted);
}

/** Alone in following the pointer, so that pointing at cards draws the bars and nothing else. */
function PointedYard() {
  const ghost = useGhostStore((state) => state.ghost);
  return <Yard ghost={ghost} label="Memory and disk of this machine" />;
}

function Loading() {
  return (
    <div role="status" aria-label="Loading models">
      <Skeleton className={classes.filtersToCome} />
      <div className={classes.skeletons}>
        {[0, 1, 2, 3, 4, 5].map((index) => (
          <Skeleton key={index} h={208} />
        ))}
      </div>
    </div>
  );
}

interface FiltersProps {
  filter: ModelFilter;
  models: Model[];
  /** Whether they leave nothing to show, and so nothing to select. */
  empty: boolean;
  onChange: (changes: Record<string, string | null>) => void;
  searchField: React.RefObject<HTMLInputElement | null>;
  selecting: boolean;
  /** On a phone: to select stands beside the search, where it needs no row of its own. */
  small: boolean;
  onSelecting: (selecting: boolean) => void;
}

function Filters({ filter, models, empty, onChange, searchField, selecting, small, onSelecting }: FiltersProps) {
  const counts = useMemo(() => countGroups(models), [models]);
  const select = (selecting || !empty) && (
    <Button
      variant={selecting ? "light" : "default"}
      px="sm"
      aria-pressed={selecting}
      onClick={() => onSelecting(!selecting)}
    >
      Select
    </Button>
  );
  return (
    <div className={classes.filters} role="search" aria-label="Filter models">
      <SearchField
        ref={searchField}
        className={classes.query}
        label="Search models"
        placeholder="Search"
        hotkey="/"
        value={filter.q}
        onChange={(q) => onChange({ q })}
      />
      {small && select}
      <NativeSelect
        className={classes.status}
        aria-label="Status"
        value={filter.status ?? ""}
        onChange={(event) => onChange({ status: event.currentTarget.value })}
        data={[
          { value: "", label: `Any status (${models.length})` },
          ...STATUS_GROUPS.map((group) => ({ value: group, label: `${STATUS_GROUP_LABEL[group]} (${counts[group]})` })),
        ]}
      />
      <NativeSelect
        className={classes.half}
        aria-label="Precision"
        value={filter.quantization ?? ""}
        onChange={(event) => onChange({ quantization: event.currentTarget.value })}
        data={[
          { value: "", label: "Any precision" },
          ...(["none", "8bit", "4bit"] as const).map((value) => ({ value, label: QUANTIZATION_LABEL[value] })),
        ]}
      />
      <NativeSelect
        className={classes.half}
        aria-label="Order"
        value={filter.sort}
        onChange={(event) =>
          onChange({ sort: event.currentTarget.value === "newest" ? null : event.currentTarget.value })
        }
        data={SORTS.map((value) => ({ value, label: SORT_LABEL[value] }))}
      />
      {!small && select}
    </div>
  );
}

function formatCountOf(shown: number, all: number): string {
  if (shown < all) return `${shown} of ${all} models`;
  return all === 1 ? "1 model" : `${all} models`;
}

function NothingMatches({ filter, onClear }: { filter: ModelFilter; onClear: () => void }) {
  const parts = [
    filter.q === "" ? null : `“${filter.q}”`,
    filter.status === null ? null : `status ${STATUS_GROUP_LABEL[filter.status].toLowerCase()}`,
    filter.quantization === null ? null : `precision ${QUANTIZATION_LABEL[filter.quantization].toLowerCase()}`,
  ].filter((part) => part !== null);
  const searchOnly = filter.status === null && filter.quantization === null;
  return (
    <EmptyState
      title="No model matches"
      action={
        <>
          <Button variant="default" onClick={onClear}>
            {searchOnly ? "Clear the search" : "Clear the filters"}
          </Button>
          {filter.q !== "" && (
            <Button variant="default" component={Link} to={`/models?view=hub&find=${encodeURIComponent(filter.q)}`}>
              Search the Hub for it
            </Button>
          )}
        </>
      }
    >
      The {searchOnly ? "search" : "filter"} is {parts.join(", ")}.
    </EmptyState>
  );
}

interface CardsProps {
  ids: string[];
  search: string;
  /** The chosen ones, or null while none are being chosen. */
  selected: ReadonlySet<string> | null;
  onSelect: (model: Model, selected: boolean) => void;
  onAction: (model: Model, action: CardAction) => void;
}

function Cards({ ids, search, selected, onSelect, onAction }: CardsProps) {
  const system = useSystemStore((state) => state.system);
  const scale = useMemoryPlace();
  return (
    <ModelGrid
      ids={ids}
      renderCard={(id) => (
        <StoredCard
          id={id}
          scale={scale}
          devices={system?.devices}
          search={search}
          selected={selected?.has(id)}
          onSelect={onSelect}
          onAction={onAction}
        />
      )}
    />
  );
}

interface StoredCardProps extends Omit<CardsProps, "ids" | "selected"> {
  id: string;
  scale: Place | undefined;
  devices: Device[] | undefined;
  selected: boolean | undefined;
}

/** Remembered, because the grid draws itself again with each row that scrolls into view. */
const StoredCard = memo(function StoredCard({ id, search, ...props }: StoredCardProps) {
  const model = useModel(id);
  const live = useLive(id);
  const pending = usePending(id);
  if (model === undefined) return null;
  return (
    <ModelCard model={model} live={live} pending={pending} href={`/models/${id}${search}`} onPoint={point} {...props} />
  );
});

function point(model: Model | null): void {
  useGhostStore.getState().show(model === null ? null : ghostOf(model));
}

/** What this model would add: nothing in memory when it is loaded, on disk only what is still to come. */
function ghostOf(model: Model): Ghost {
  const here = fetchedBytes(model, useModelsStore.getState().live[model.id]);
  return {
    label: model.name,
    quantization: model.quantization,
    wanted: {
      memory: model.loaded ? 0 : (model.memory_measured_bytes ?? model.memory_estimated_bytes),
      cache: model.status === "ready" || model.size_bytes === null ? 0 : Math.max(0, model.size_bytes - here),
      artifact: 0,
    },
  };
}

interface OpenDrawerProps {
  id: string | undefined;
  loading: boolean;
  /** Whether a question lies over it, whose Esc is not the drawer's. */
  covered: boolean;
  onClose: () => void;
  onAction: (model: Model, action: CardAction) => void;
}

function OpenDrawer({ id, loading, covered, onClose, onAction }: OpenDrawerProps) {
  const model = useModel(id ?? "");
  const live = useLive(id ?? "");
  const pending = usePending(id ?? "");
  return (
    <FromFirstUse wanted={id !== undefined} title={model?.name ?? "Model"} onClose={onClose}>
      {(opened) => (
        <ModelDrawer
          opened={opened}
          model={model}
          loading={loading}
          closeOnEscape={!covered}
          live={live}
          pending={pending}
          onClose={onClose}
          onAction={onAction}
        />
      )}
    </FromFirstUse>
  );
}
