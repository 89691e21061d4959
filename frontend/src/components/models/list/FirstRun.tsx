import { Button, Group, List, Skeleton, Stack, Text } from "@mantine/core";
import { FolderInput } from "lucide-react";
import { Link } from "react-router";
import { searchHub } from "../../../api/models";
import { useResource } from "../../../hooks/useResource";
import { useHasSamples } from "../../../hooks/useTorchReason";
import { formatBytes, formatCount } from "../../../lib/bytes";
import { HALF_PRECISION_BYTES, roughFit } from "../../../lib/fit";
import { sentence } from "../../../lib/labels";
import { useSystemStore } from "../../../stores/systemStore";
import type { Device, SystemInfo } from "../../../types/model";
import { Placeholder } from "../../common/Placeholder";
import { Section } from "../../common/Section";
import { SystemPending } from "../../common/SystemPending";
import { CachedModels } from "../local/CachedModels";
import { FitHint } from "../memory/FitHint";
import classes from "./FirstRun.module.css";
import { HubUnreachable } from "../hub/HubUnreachable";
import { RealModelsHint } from "../hub/RealModelsHint";

/** Small models that people who look inside transformers often begin with. */
const STARTERS = ["EleutherAI/pythia-70m", "gpt2", "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen3-0.6B"];

/** The page before there is any model: what this machine has, and a first step that works from here. */
export function FirstRun({ onStart }: { onStart: (modelId?: string) => void }) {
  const system = useSystemStore((state) => state.system);
  const failed = useSystemStore((state) => state.error !== null);
  const hasSamples = useHasSamples();
  return (
    <div className={classes.columns}>
      <Section label="Get a first model">
        <Stack gap="sm">
          {system === null ? (
            <SystemPending height={120} label="Checking the Hub" />
          ) : system.hub.reachable ? (
            <Starters hub={system.hub} devices={system.devices} onStart={onStart} />
          ) : (
            <HubUnreachable
              problem={{
                code: "hub_unreachable",
                message: system.hub.reason ?? "It could not be reached.",
                hint: hasSamples
                  ? "The built-in sample Hub serves small models with random weights, to try everything without internet."
                  : null,
              }}
            />
          )}
          {system !== null && system.hub.reachable && system.hub.endpoint_source !== "builtin" && (
            <TokenHint hub={system.hub} />
          )}
        </Stack>
      </Section>
      <Section label="This machine">
        <Stack gap="sm">
          {system !== null ? (
            <Hardware system={system} />
          ) : failed ? (
            <Text c="dimmed">Unknown.</Text>
          ) : (
            <Skeleton h={80} />
          )}
          <CachedModels />
          <div>
            <Button
              variant="default"
              leftSection={<FolderInput size={16} aria-hidden />}
              component={Link}
              to="/models?add"
            >
              Add local
            </Button>
          </div>
        </Stack>
      </Section>
    </div>
  );
}

interface Starter {
  id: string;
  /** What the Hub says; null until it has, or where it does not. */
  parameters: number | null;
}

/** The models to begin with, as far as the Hub in use has them, else the first ones it lists; the Hub tells sizes. */
async function lookUpStarters(builtin: boolean, signal: AbortSignal): Promise<Starter[]> {
  const found = await Promise.all(
    (builtin ? [] : STARTERS).map(async (id): Promise<Starter | null> => {
      const { items } = await searchHub({ q: id, limit: 5 }, signal);
      const hit = items.find((item) => item.model_id === id || item.model_id.endsWith(`/${id}`));
      return hit === undefined ? null : { id, parameters: hit.num_parameters };
    }),
  );
  const known = found.filter((starter) => starter !== null);
  if (known.length > 0) return known;
  const { items } = await searchHub({ q: "", limit: STARTERS.length }, signal);
  return items.map((item) => ({ id: item.model_id, parameters: item.num_parameters }));
}

interface StartersProps {
  hub: SystemInfo["hub"];
  devices: Device[];
  onStart: (modelId: string) => void;
}

function Starters({ hub, devices, onStart }: StartersProps) {
  const builtin = hub.endpoint_source === "builtin";
  const hasSamples = useHasSamples();
  const known = useResource(hub.endpoint, (signal) => lookUpStarters(builtin, signal));
  const named = builtin ? [] : STARTERS.map((id) => ({ id, parameters: null }));
  const items = known.data ?? named;
  const fitting = items.filter(({ parameters }) => roughFit(parameters, devices).verdict !== "does_not_fit");
  return (
    <>
      <Text>
        {builtin ? (
          <>
            The built-in sample Hub is in use. Its models are small and have random weights, so that everything can be
            tried without internet. <RealModelsHint />
          </>
        ) : (
          "Some small models to start with. You see what a model needs before you download it."
        )}
      </Text>
      {builtin && known.loading && <Placeholder h={96} label="Loading the sample models" />}
      {builtin && known.problem !== null && <Text c="dimmed">{known.problem.message}</Text>}
      {known.data?.length === 0 && <Text c="dimmed">This Hub has no models.</Text>}
      <div className={classes.starters}>
        {(fitting.length > 0 ? fitting : items).map(({ id, parameters }) => (
          <Button
            key={id}
            variant="default"
            fullWidth
            classNames={{ root: classes.starter, label: classes.lines }}
            onClick={() => onStart(id)}
          >
            <span className={`${classes.name} mono`}>{id}</span>
            {parameters !== null && (
              <span className={`${classes.size} num`}>
                {formatCount(parameters)} parameters
                <FitHint bytes={parameters * HALF_PRECISION_BYTES} />
              </span>
            )}
          </Button>
        ))}
      </div>
      <Group gap="xs">
        <Button variant="default" component={Link} to="/models?view=hub">
          {builtin ? "Search the sample Hub" : "Search the Hub"}
        </Button>
        {!builtin && hasSamples && (
          <Text size="sm" c="dimmed">
            No internet? Choose the built-in sample Hub in <Link to="/settings">Settings</Link>.
          </Text>
        )}
      </Group>
    </>
  );
}

/** Whether gated models can be had, and what is missing for them. */
function TokenHint({ hub }: { hub: SystemInfo["hub"] }) {
  const [words, step] = (
    {
      valid: [`You can download gated and private models that ${hub.user ?? "your account"} has access to.`, null],
      none: ["Gated and private models need a Hub token.", "Set a token"],
      invalid: [
        "The Hub rejects the stored token, so gated and private models are not available.",
        "Replace the token",
      ],
      unknown: ["A Hub token is set, but the Hub has not confirmed it.", "Check the token"],
    } as const
  )[hub.token];
  return (
    <Text size="sm" c="dimmed">
      {words} {step !== null && <Link to="/settings">{step}</Link>}
    </Text>
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
        <List.Item>No GPU found; models run on the CPU.</List.Item>
      )}
      {system.disks.map((disk) => (
        <List.Item key={disk.path}>
          {sentence(disk.purpose)}: {formatBytes(disk.free_bytes)} free at <Path path={disk.path} />
        </List.Item>
      ))}
    </List>
  );
}

/** Breaks between folders, not inside a name. */
function Path({ path }: { path: string }) {
  return (
    <span className="mono">
      {path.split(/(?=[\\/])/).map((part, index) => (
        <span key={index} className={classes.folder}>
          {part}
        </span>
      ))}
    </span>
  );
}
