import { Button, List, Skeleton, Stack, Text, Title } from "@mantine/core";
import { Link } from "react-router";
import { searchHub } from "../../api/models";
import { useResource } from "../../hooks/useResource";
import { formatBytes, formatCount } from "../../lib/bytes";
import { useSystemStore } from "../../stores/systemStore";
import type { SystemInfo } from "../../types/model";
import { CachedModels } from "./CachedModels";
import classes from "./FirstRun.module.css";
import { HubUnreachable } from "./HubUnreachable";

/** Small models that people who look inside transformers often begin with. */
const STARTERS = ["EleutherAI/pythia-70m", "gpt2", "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen3-0.6B"];

/** The page before there is any model: what this machine has, and a first step that works from here. */
export function FirstRun({ onStart }: { onStart: (modelId?: string) => void }) {
  const system = useSystemStore((state) => state.system);
  const refresh = useSystemStore((state) => state.refresh);
  return (
    <div className={classes.columns}>
      <Stack gap="sm" className={classes.panel}>
        <Title order={2}>Get a first model</Title>
        {system === null ? (
          <Skeleton h={120} />
        ) : system.hub.reachable ? (
          <Starters builtin={system.hub.endpoint_source === "builtin"} onStart={onStart} />
        ) : (
          <HubUnreachable
            problem={{
              code: "hub_unreachable",
              message: system.hub.reason ?? "It could not be reached.",
              hint: "The built-in sample Hub serves small models with random weights, to try everything without internet.",
            }}
            onRetry={() => void refresh()}
          />
        )}
        <Text size="sm" c="dimmed">
          A gated or private model needs a Hub token: set it in <Link to="/settings">Settings</Link>. Models that other
          tools put into this machine's Hugging Face cache need no second download.
        </Text>
      </Stack>
      <Stack gap="sm" className={classes.panel}>
        <Title order={2}>This machine</Title>
        {system === null ? <Skeleton h={80} /> : <Hardware system={system} />}
        <CachedModels />
      </Stack>
    </div>
  );
}

function Starters({ builtin, onStart }: { builtin: boolean; onStart: (modelId?: string) => void }) {
  const samples = useResource(builtin ? "samples" : null, async (signal) => (await searchHub("", 4, signal)).items);
  const items = builtin
    ? (samples.data ?? []).map((item) => ({ id: item.model_id, parameters: item.num_parameters }))
    : STARTERS.map((id) => ({ id, parameters: null }));
  return (
    <>
      <Text>
        {builtin
          ? "The built-in sample Hub is in use. Its models are small and have random weights, so that everything can be tried without internet."
          : "The preview shows exactly what a model needs before anything is fetched. A few small ones to begin with:"}
      </Text>
      {samples.loading && <Skeleton h={96} aria-label="Loading samples" />}
      {samples.problem !== null && <Text c="dimmed">{samples.problem.message}</Text>}
      <div className={classes.starters}>
        {items.map(({ id, parameters }) => (
          <Button
            key={id}
            variant="default"
            justify="space-between"
            fullWidth
            onClick={() => onStart(id)}
            rightSection={parameters === null ? null : <span className="num">{formatCount(parameters)}</span>}
          >
            <span className="mono">{id}</span>
          </Button>
        ))}
      </div>
      <div>
        <Button onClick={() => onStart()}>{builtin ? "Search the sample Hub" : "Search the Hub"}</Button>
      </div>
    </>
  );
}

function Hardware({ system }: { system: SystemInfo }) {
  return (
    <List size="sm" spacing={4} className="num">
      {system.devices.map((device) => (
        <List.Item key={device.id}>
          {device.id === "cpu" ? "System memory" : device.name}: {formatBytes(device.free_bytes)} free of{" "}
          {formatBytes(device.total_bytes)}
        </List.Item>
      ))}
      {system.devices.every((device) => device.id === "cpu") && (
        <List.Item>No GPU was found; models run on the processor.</List.Item>
      )}
      {system.disks.map((disk) => (
        <List.Item key={disk.path}>
          {disk.purpose}: {formatBytes(disk.free_bytes)} free at <span className="mono">{disk.path}</span>
        </List.Item>
      ))}
    </List>
  );
}
