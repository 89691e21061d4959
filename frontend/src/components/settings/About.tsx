import { Badge, Code, Group, Stack, Text, Title } from "@mantine/core";
import { formatBytes } from "../../lib/bytes";
import { deviceLabel } from "../../lib/fit";
import { sentence } from "../../lib/labels";
import type { SystemInfo } from "../../types/model";
import { CopyText } from "../common/CopyText";
import { VerdictLabel } from "../common/VerdictLabel";
import { Section } from "../common/Section";
import classes from "./settings.module.css";

interface Props {
  system: SystemInfo;
}

/** Every folder that the server fills, with what its disk has left. */
export function Storage({ system }: Props) {
  return (
    <Section label="Storage" id="storage">
      <Stack gap="sm">
        <ul className={`${classes.places} num`}>
          {system.disks.flatMap((disk) =>
            disk.places.map((place) => (
              <li key={place.path}>
                <span>{sentence(place.purpose)}</span>
                <CopyText text={place.path} label="path" wrap />
                <Room {...disk} />
              </li>
            )),
          )}
        </ul>
        <Text size="sm" c="dimmed">
          To use another disk for models, stop the server, move their folder there, and start the server with{" "}
          <Code>HF_HUB_CACHE</Code> set to its new place: models stay ready, and downloads resume where they were.{" "}
          <Code>MODELYARD_HOME</Code> names the place of the rest.
        </Text>
      </Stack>
    </Section>
  );
}

export function About({ system }: Props) {
  return (
    <Section label="About this server" id="about">
      <Stack gap="md">
        <Text size="sm">
          Modelyard {system.version}. All sizes are decimal: 1 GB is 10⁹ bytes, as disks and the Hub count. “≈” marks
          figures that are approximate.
        </Text>
        <div>
          <Title order={3} mb={4}>
            Devices
          </Title>
          <ul className={`${classes.places} num`}>
            {system.devices.map((device) => (
              <li key={device.id}>
                <span>{sentence(deviceLabel(device.id))}</span>
                <span>{device.name}</span>
                <Room {...device} />
              </li>
            ))}
          </ul>
        </div>
        <Workers workers={system.workers} />
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
        {system.missing.length > 0 && <Missing missing={system.missing} />}
      </Stack>
    </Section>
  );
}

function Missing({ missing }: Pick<SystemInfo, "missing">) {
  return (
    <div>
      <Title order={3} mb={4}>
        Not installed
      </Title>
      <Stack gap="sm">
        {missing.map(({ extra, needed_for, install }) => (
          <div key={extra}>
            <Text size="sm">
              <span className="mono">modelyard[{extra}]</span>: {needed_for}
            </Text>
            <CopyText text={install} label="command" wrap />
          </div>
        ))}
      </Stack>
    </div>
  );
}

function Room({ free_bytes, total_bytes }: { free_bytes: number; total_bytes: number }) {
  return (
    <span className={classes.room}>
      {formatBytes(free_bytes)} free of {formatBytes(total_bytes)}
    </span>
  );
}

function Workers({ workers }: Pick<SystemInfo, "workers">) {
  return (
    <div>
      <Title order={3} mb={4}>
        Workers
      </Title>
      {workers.length === 0 ? (
        <Text size="sm" c="dimmed">
          None is connected, so nothing is downloaded or quantized. Start one with <Code>modelyard worker</Code>.
        </Text>
      ) : (
        <ul className={classes.workers}>
          {workers.map((worker) => (
            <li key={worker.name}>
              <VerdictLabel verdict={worker.alive ? "fits" : "does_not_fit"}>
                {worker.alive ? "running" : "not responding"}
              </VerdictLabel>
              <span className="mono">{worker.name}</span>
              <Text span size="sm" c="dimmed">
                {worker.queues.join(", ")}
              </Text>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
