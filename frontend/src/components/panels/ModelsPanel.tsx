import { Button, CloseButton, Group, Kbd, Modal, NativeSelect, Skeleton, Text, TextInput, Title } from "@mantine/core";
import { useHotkeys, useMediaQuery } from "@mantine/hooks";
import { FolderInput, Plus, Search } from "lucide-react";
import { useCallback, useMemo, useRef, useState } from "react";
import { Link, useLocation, useNavigate, useParams, useSearchParams } from "react-router";
import { useFilteredIds, useLive, useModel, useModelList, usePending } from "../../hooks/useModels";
import { useTitle } from "../../hooks/useTitle";
import {
  countGroups,
  type ModelFilter,
  readFilter,
  SORT_WORD,
  SORTS,
  STATUS_GROUP_WORD,
  type StatusGroup,
} from "../../lib/filter";
import { toastDone } from "../../lib/toast";
import { QUANTIZATION_WORD } from "../../lib/words";
import { bestMemoryPlace, type Place, placesOf } from "../../lib/yard";
import { type Ghost, useGhostStore } from "../../stores/ghostStore";
import { useModelsStore } from "../../stores/modelsStore";
import { useSystemStore } from "../../stores/systemStore";
import type { Model } from "../../types/model";
import { ConfirmDelete } from "../common/ConfirmDelete";
import { EmptyState } from "../common/EmptyState";
import { ProblemAlert } from "../common/ProblemAlert";
import { AddLocal } from "../models/AddLocal";
import { FirstRun } from "../models/FirstRun";
import { type CardAction, ModelCard } from "../models/ModelCard";
import { ModelDownloadForm } from "../models/ModelDownloadForm";
import { ModelDrawer } from "../models/ModelDrawer";
import { ModelGrid } from "../models/ModelGrid";
import { QuantizeDialog, type QuantizeWish } from "../models/QuantizeDialog";
import { Yard } from "../models/Yard";
import classes from "./ModelsPanel.module.css";

/** The yard, the models, and what can be done with them. Filters and dialogs live in the address. */
export function ModelsPanel() {
  useTitle("Models");
  const { id } = useParams();
  const navigate = useNavigate();
  const { search } = useLocation();
  const [parameters, setParameters] = useSearchParams();
  const [deleting, setDeleting] = useState<Model | null>(null);
  const [quantizing, setQuantizing] = useState<QuantizeWish | null>(null);
  const searchField = useRef<HTMLInputElement>(null);
  const small = useMediaQuery("(max-width: 48em)", false, { getInitialValueInEffect: false });

  const load = useModelsStore((state) => state.load);
  const fetchModels = useModelsStore((state) => state.fetchModels);
  const act = useModelsStore((state) => state.act);
  const models = useModelList();
  const filter = readFilter(parameters);
  const ids = useFilteredIds(filter);

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
  const close = (name: "download" | "add") =>
    setParameters((before) => {
      const next = new URLSearchParams(before);
      next.delete(name);
      return next;
    });

  useHotkeys([
    ["/", () => searchField.current?.focus()],
    ["n", () => openForm()],
  ]);

  const onAction = useCallback(
    (model: Model, action: CardAction) => {
      if (action === "delete") setDeleting(model);
      else if (action === "quantize-4bit") setQuantizing({ model, quantization: "4bit" });
      else if (action === "quantize-8bit") setQuantizing({ model, quantization: "8bit" });
      else void act(model.id, action);
    },
    [act],
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

      <section className={classes.panel} aria-label="The yard">
        <PointedYard />
      </section>

      {load.state === "error" && load.error !== undefined ? (
        <ProblemAlert title="The models could not be read" problem={load.error}>
          <Button size="compact-sm" variant="default" onClick={() => void fetchModels()}>
            Try again
          </Button>
        </ProblemAlert>
      ) : load.state !== "ready" ? (
        <Loading />
      ) : models.length === 0 ? (
        <FirstRun onStart={openForm} />
      ) : (
        <>
          <Filters filter={filter} models={models} shown={ids.length} onChange={change} searchField={searchField} />
          {ids.length === 0 ? (
            <NothingMatches filter={filter} onClear={() => change({ q: null, status: null, quantization: null })} />
          ) : (
            <Cards ids={ids} search={search} onAction={onAction} />
          )}
        </>
      )}

      <Modal
        opened={formOpen}
        onClose={() => close("download")}
        title="Download a model"
        size={880}
        fullScreen={small}
        yOffset="5dvh"
      >
        <ModelDownloadForm
          key={parameters.get("download") ?? ""}
          initial={parameters.get("download") ?? ""}
          onDone={(model) => {
            toastDone(`${model.name} is on its way`, "Its progress is under Downloads and on its card.");
            close("download");
          }}
        />
      </Modal>
      <Modal opened={adding} onClose={() => close("add")} title="Add models that are here already" size={620} fullScreen={small}>
        <AddLocal onAdded={() => close("add")} />
      </Modal>
      <OpenDrawer
        id={id}
        loading={load.state !== "ready"}
        onClose={() => void navigate({ pathname: "/models", search: withoutTab(search) })}
        onAction={onAction}
      />
      <ConfirmDelete model={deleting} onClose={() => setDeleting(null)} />
      <QuantizeDialog wish={quantizing} onClose={() => setQuantizing(null)} />
    </div>
  );
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

/** Alone in following the pointer, so that pointing at cards draws the bars and nothing else. */
function PointedYard() {
  const ghost = useGhostStore((state) => state.ghost);
  return <Yard ghost={ghost} label="Memory and disk of this machine" />;
}

function Loading() {
  return (
    <div className={classes.skeletons} role="status" aria-label="Loading models">
      {[0, 1, 2, 3, 4, 5].map((index) => (
        <Skeleton key={index} h={208} />
      ))}
    </div>
  );
}

interface FiltersProps {
  filter: ModelFilter;
  models: Model[];
  shown: number;
  onChange: (changes: Record<string, string | null>) => void;
  searchField: React.RefObject<HTMLInputElement | null>;
}

function Filters({ filter, models, shown, onChange, searchField }: FiltersProps) {
  const counts = useMemo(() => countGroups(models), [models]);
  const groups: StatusGroup[] = ["ready", "active", "attention"];
  return (
    <div className={classes.filters} role="search" aria-label="Filter models">
      <TextInput
        ref={searchField}
        className={classes.query}
        aria-label="Search models"
        placeholder="Search  ( / )"
        value={filter.q}
        onChange={(event) => onChange({ q: event.currentTarget.value })}
        leftSection={<Search size={16} aria-hidden />}
        rightSection={
          filter.q === "" ? null : (
            <CloseButton size="sm" aria-label="Clear the search" onClick={() => onChange({ q: null })} />
          )
        }
      />
      <NativeSelect
        aria-label="Status"
        value={filter.status ?? ""}
        onChange={(event) => onChange({ status: event.currentTarget.value })}
        data={[
          { value: "", label: `Any status (${models.length})` },
          ...groups.map((group) => ({ value: group, label: `${STATUS_GROUP_WORD[group]} (${counts[group]})` })),
        ]}
      />
      <NativeSelect
        aria-label="Precision"
        value={filter.quantization ?? ""}
        onChange={(event) => onChange({ quantization: event.currentTarget.value })}
        data={[
          { value: "", label: "Any precision" },
          ...(["none", "8bit", "4bit"] as const).map((value) => ({ value, label: QUANTIZATION_WORD[value] })),
        ]}
      />
      <NativeSelect
        aria-label="Order"
        value={filter.sort}
        onChange={(event) =>
          onChange({ sort: event.currentTarget.value === "newest" ? null : event.currentTarget.value })
        }
        data={SORTS.map((value) => ({ value, label: SORT_WORD[value] }))}
      />
      <Text size="sm" c="dimmed" className={`${classes.shown} num`} role="status">
        {shown === models.length
          ? shown === 1
            ? "1 model"
            : `${shown} models`
          : `${shown} of ${models.length} models`}
      </Text>
    </div>
  );
}

function NothingMatches({ filter, onClear }: { filter: ModelFilter; onClear: () => void }) {
  const parts = [
    filter.q === "" ? null : `“${filter.q}”`,
    filter.status === null ? null : `status ${STATUS_GROUP_WORD[filter.status].toLowerCase()}`,
    filter.quantization === null ? null : `precision ${QUANTIZATION_WORD[filter.quantization].toLowerCase()}`,
  ].filter((part) => part !== null);
  return (
    <EmptyState
      title="No model matches"
      action={
        <Button variant="default" onClick={onClear}>
          Clear the filters
        </Button>
      }
    >
      The filter is {parts.join(", ")}.
    </EmptyState>
  );
}

interface CardsProps {
  ids: string[];
  search: string;
  onAction: (model: Model, action: CardAction) => void;
}

function Cards({ ids, search, onAction }: CardsProps) {
  const system = useSystemStore((state) => state.system);
  const loaded = useSystemStore((state) => state.loaded);
  const scale = useMemo(
    () => (system === null ? undefined : bestMemoryPlace(placesOf(system, loaded))),
    [system, loaded],
  );
  return (
    <ModelGrid
      ids={ids}
      renderCard={(id) => <StoredCard id={id} scale={scale} search={search} onAction={onAction} />}
    />
  );
}

function StoredCard({
  id,
  scale,
  search,
  onAction,
}: { id: string; scale: Place | undefined } & Omit<CardsProps, "ids">) {
  const model = useModel(id);
  const live = useLive(id);
  const pending = usePending(id);
  if (model === undefined) return null;
  return (
    <ModelCard
      model={model}
      live={live}
      pending={pending}
      scale={scale}
      href={`/models/${id}${search}`}
      onAction={onAction}
      onPoint={point}
    />
  );
}

function point(model: Model | null): void {
  useGhostStore.getState().show(model === null ? null : ghostOf(model));
}

/** What this model would add: nothing in memory when it is loaded, on disk only what is still to come. */
function ghostOf(model: Model): Ghost {
  return {
    label: model.name,
    quantization: model.quantization,
    wanted: {
      memory: model.loaded ? 0 : (model.memory_measured_bytes ?? model.memory_estimated_bytes),
      cache:
        model.status === "ready" || model.size_bytes === null
          ? 0
          : Math.max(0, model.size_bytes - model.downloaded_bytes),
      artifact: 0,
    },
  };
}

interface OpenDrawerProps {
  id: string | undefined;
  loading: boolean;
  onClose: () => void;
  onAction: (model: Model, action: CardAction) => void;
}

function OpenDrawer({ id, loading, onClose, onAction }: OpenDrawerProps) {
  const model = useModel(id ?? "");
  const live = useLive(id ?? "");
  const pending = usePending(id ?? "");
  return (
    <ModelDrawer
      opened={id !== undefined}
      model={model}
      loading={loading}
      live={live}
      pending={pending}
      onClose={onClose}
      onAction={onAction}
    />
  );
}
