import {
  Badge,
  Button,
  Code,
  Group,
  NativeSelect,
  NumberInput,
  PasswordInput,
  Radio,
  Skeleton,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useForm } from "@mantine/form";
import { useState } from "react";
import { ApiError } from "../../api/client";
import { getSettings, getSystem, putSettings } from "../../api/system";
import { useResource } from "../../hooks/useResource";
import { useTitle } from "../../hooks/useTitle";
import { formatBytes } from "../../lib/bytes";
import { toastDone, toastProblem } from "../../lib/toast";
import { useSystemStore } from "../../stores/systemStore";
import type { SettingsChange, SettingsView, SystemInfo } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { ProblemAlert } from "../common/ProblemAlert";
import { AddLocal } from "../models/AddLocal";
import { VerdictWords } from "../models/Yard";
import classes from "./SettingsPanel.module.css";

export default function SettingsPanel() {
  useTitle("Settings");
  const settings = useResource("settings", getSettings);
  const system = useSystemStore((state) => state.system);
  return (
    <div className={classes.page}>
      <Title order={1} mb="md">
        Settings
      </Title>
      <Stack gap="md">
        {settings.loading && <Skeleton h={320} aria-label="Loading settings" />}
        {settings.problem !== null && (
          <ProblemAlert title="The settings could not be read" problem={settings.problem}>
            <Button size="compact-sm" variant="default" onClick={settings.reload}>
              Try again
            </Button>
          </ProblemAlert>
        )}
        {settings.data !== null && (
          <>
            <Endpoint settings={settings.data} onSaved={settings.reload} />
            <Token settings={settings.data} onSaved={settings.reload} />
            <Downloads settings={settings.data} onSaved={settings.reload} />
            <Section title="Models that are here already">
              <AddLocal />
            </Section>
          </>
        )}
        {system === null ? <Skeleton h={200} /> : <About system={system} />}
      </Stack>
    </div>
  );
}

function Section({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <section className={classes.section} aria-label={title}>
      <Title order={2} mb="sm">
        {title}
      </Title>
      {children}
    </section>
  );
}

interface SectionProps {
  settings: SettingsView;
  onSaved: () => void;
}

/** Saves a change and refreshes what depends on it; the answer says whether it was accepted. */
function useSave(onSaved: () => void) {
  const refresh = useSystemStore((state) => state.refresh);
  const [busy, setBusy] = useState(false);
  async function save(change: SettingsChange, done: string): Promise<ApiError | null> {
    setBusy(true);
    try {
      await putSettings(change);
      toastDone(done);
      onSaved();
      await refresh();
      return null;
    } catch (error) {
      toastProblem("The settings were not changed", error);
      return error instanceof ApiError ? error : null;
    } finally {
      setBusy(false);
    }
  }
  return { busy, save };
}

type Source = "environment" | "custom" | "builtin";

function Endpoint({ settings, onSaved }: SectionProps) {
  const current: Source =
    settings.endpoint_source === "builtin"
      ? "builtin"
      : settings.endpoint_source === "settings"
        ? "custom"
        : "environment";
  const [source, setSource] = useState<Source>(current);
  const [url, setUrl] = useState(current === "custom" ? settings.endpoint : "");
  const { busy, save } = useSave(onSaved);
  const endpoint = { environment: null, builtin: "builtin", custom: url.trim() }[source];
  const unchanged = source === current && (source !== "custom" || url.trim() === settings.endpoint);

  return (
    <Section title="Hub">
      <Stack gap="sm">
        <Radio.Group label="Models come from" value={source} onChange={(value) => setSource(value)}>
          <Stack gap={8} mt={8}>
            <Radio
              value="environment"
              label="The environment's default"
              description={
                current === "environment"
                  ? `${settings.endpoint}${settings.endpoint_source === "environment" ? ", set by HF_ENDPOINT" : ""}`
                  : "HF_ENDPOINT where the server was started, else https://huggingface.co"
              }
            />
            <Radio
              value="custom"
              label="Another Hub or mirror"
              description="A mirror, or the address of another Modelyard with /hub at its end"
            />
            <Radio
              value="builtin"
              label="The built-in sample Hub"
              description="Small models with random weights, to try everything without internet"
            />
          </Stack>
        </Radio.Group>
        {source === "custom" && (
          <TextInput
            label="Address"
            placeholder="https://hub.example.org"
            value={url}
            onChange={(event) => setUrl(event.currentTarget.value)}
            spellCheck={false}
          />
        )}
        <Group gap="sm">
          <Button
            loading={busy}
            disabled={unchanged || endpoint === ""}
            onClick={() => void save({ endpoint }, "The Hub was changed")}
          >
            Save
          </Button>
          <HubTest />
        </Group>
      </Stack>
    </Section>
  );
}

function HubTest() {
  const hub = useSystemStore((state) => state.system?.hub);
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState<SystemInfo["hub"] | null>(null);

  async function test() {
    setBusy(true);
    try {
      setResult((await getSystem()).hub);
    } catch (error) {
      setResult(null);
      toastProblem("The connection was not tested", error);
    } finally {
      setBusy(false);
    }
  }

  const shown = result ?? hub;
  return (
    <>
      <Button variant="default" loading={busy} onClick={() => void test()}>
        Test the connection
      </Button>
      {shown !== undefined && (
        <Text size="sm" role="status" component="div">
          <VerdictWords verdict={shown.reachable ? "fits" : "does_not_fit"}>
            {shown.reachable
              ? `${shown.endpoint} answers`
              : `${shown.endpoint} does not answer: ${shown.reason ?? "no reason given"}`}
          </VerdictWords>
        </Text>
      )}
    </>
  );
}

function Token({ settings, onSaved }: SectionProps) {
  const hub = useSystemStore((state) => state.system?.hub);
  const [token, setToken] = useState("");
  const { busy, save } = useSave(onSaved);
  const state =
    hub?.token === "invalid"
      ? { verdict: "does_not_fit" as const, words: "A token is stored, but the Hub refuses it" }
      : hub?.user != null
        ? { verdict: "fits" as const, words: `Signed in as ${hub.user}` }
        : settings.token_set
          ? { verdict: "unknown" as const, words: "A token is stored; the Hub did not say whose it is" }
          : { verdict: "unknown" as const, words: "No token is stored" };
  return (
    <Section title="Hub token">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save({ token }, "The token was stored").then((error) => {
            if (error === null) setToken("");
          });
        }}
      >
        <Stack gap="sm">
          <Text size="sm" component="div">
            <VerdictWords verdict={state.verdict}>{state.words}</VerdictWords>
          </Text>
          <PasswordInput
            label={settings.token_set ? "Replace the token" : "Token"}
            description="For gated and private models. It is stored where huggingface_hub keeps it and never shown again."
            placeholder="hf_…"
            value={token}
            onChange={(event) => setToken(event.currentTarget.value)}
            autoComplete="off"
          />
          <Group gap="sm">
            <Button type="submit" loading={busy} disabled={token.trim() === ""}>
              Store the token
            </Button>
            {settings.token_set && (
              <Button
                variant="default"
                disabled={busy}
                onClick={() => void save({ token: null }, "The token was forgotten")}
              >
                Forget the token
              </Button>
            )}
          </Group>
        </Stack>
      </form>
    </Section>
  );
}

const MEGA = 1_000_000;

function Downloads({ settings, onSaved }: SectionProps) {
  const { busy, save } = useSave(onSaved);
  const limit = settings.bandwidth_limit_bytes_per_second;
  const form = useForm({
    initialValues: {
      parallel: settings.parallel_downloads as number | string,
      connections: settings.connections as number | string,
      limit: limit === null ? "" : limit / MEGA,
      order: settings.download_order,
    },
    validate: {
      parallel: (value) => (typeof value === "number" ? null : "Give a number from 1 to 16"),
      connections: (value) => (typeof value === "number" ? null : "Give a number from 1 to 64"),
    },
  });
  return (
    <Section title="Downloads">
      <form
        onSubmit={form.onSubmit(
          (values) =>
            void save(
              {
                parallel_downloads: Number(values.parallel),
                connections: Number(values.connections),
                download_order: values.order,
                bandwidth_limit_bytes_per_second: values.limit === "" ? null : Math.round(Number(values.limit) * MEGA),
              },
              "The settings were saved",
            ),
        )}
      >
        <Stack gap="sm">
          <div className={classes.fields}>
            <NumberInput
              label="Models at the same time"
              min={1}
              max={16}
              allowDecimal={false}
              {...form.getInputProps("parallel")}
            />
            <NumberInput
              label="Connections per model"
              min={1}
              max={64}
              allowDecimal={false}
              {...form.getInputProps("connections")}
            />
            <NumberInput
              label="Bandwidth limit, MB per second"
              placeholder="no limit"
              min={0.01}
              decimalScale={2}
              {...form.getInputProps("limit")}
            />
            <NativeSelect
              label="Whose turn is next"
              data={[
                { value: "oldest_first", label: "Whoever waits longest" },
                { value: "smallest_first", label: "The smallest" },
              ]}
              {...form.getInputProps("order")}
            />
          </div>
          <div>
            <Button type="submit" loading={busy} disabled={!form.isDirty()}>
              Save
            </Button>
          </div>
        </Stack>
      </form>
    </Section>
  );
}

function About({ system }: { system: SystemInfo }) {
  return (
    <Section title="About this server">
      <Stack gap="md">
        <Text size="sm">
          Modelyard {system.version}. All sizes are decimal: 1 GB is 10⁹ bytes, as disks and the Hub count. “≈” marks
          figures that are approximate.
        </Text>
        <Table.ScrollContainer minWidth={420} type="native">
          <Table fz="sm" className="num">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Place</Table.Th>
                <Table.Th>What it is</Table.Th>
                <Table.Th ta="right">Free</Table.Th>
                <Table.Th ta="right">Total</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {system.devices.map((device) => (
                <Table.Tr key={device.id}>
                  <Table.Td className="mono">{device.id}</Table.Td>
                  <Table.Td>{device.name}</Table.Td>
                  <Table.Td ta="right">{formatBytes(device.free_bytes)}</Table.Td>
                  <Table.Td ta="right">{formatBytes(device.total_bytes)}</Table.Td>
                </Table.Tr>
              ))}
              {system.disks.map((disk) => (
                <Table.Tr key={disk.path}>
                  <Table.Td>
                    <CopyText text={disk.path} label="path" />
                  </Table.Td>
                  <Table.Td>{disk.purpose}</Table.Td>
                  <Table.Td ta="right">{formatBytes(disk.free_bytes)}</Table.Td>
                  <Table.Td ta="right">{formatBytes(disk.total_bytes)}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
        <div>
          <Title order={3} mb={4}>
            Workers
          </Title>
          {system.workers.length === 0 ? (
            <Text size="sm" c="dimmed">
              None is connected, so nothing is downloaded or quantized. Start one with <Code>modelyard worker</Code>.
            </Text>
          ) : (
            <ul className={classes.workers}>
              {system.workers.map((worker) => (
                <li key={worker.name}>
                  <VerdictWords verdict={worker.alive ? "fits" : "does_not_fit"}>
                    {worker.alive ? "alive" : "silent"}
                  </VerdictWords>
                  <span className="mono">{worker.name}</span>
                  <Text span size="sm" c="dimmed">
                    {worker.queues.join(", ")}
                  </Text>
                </li>
              ))}
            </ul>
          )}
        </div>
        <div>
          <Title order={3} mb={4}>
            Libraries
          </Title>
          <Group gap={8}>
            {Object.entries(system.libraries).map(([name, version]) => (
              <Badge key={name} variant="default" fw={400} className="mono">
                {name} {version ?? "not installed"}
              </Badge>
            ))}
          </Group>
        </div>
      </Stack>
    </Section>
  );
}
