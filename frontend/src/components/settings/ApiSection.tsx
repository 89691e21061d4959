import { Button, Group, Stack, Text } from "@mantine/core";
import { BASE } from "../../lib/base";
import { CopyText } from "../common/CopyText";
import { Section } from "../common/Section";
import classes from "./settings.module.css";

const address = (path: string) => new URL(path, BASE).href;

const ADDRESSES = [
  { name: "REST API", path: "api/v1" },
  { name: "OpenAI API", path: "v1" },
  { name: "Hub", path: "hub" },
];

/** Where programs find this server, and the description of its calls. */
export function ApiSection() {
  return (
    <Section label="API" id="api">
      <Stack gap="sm">
        <ul className={classes.addresses}>
          {ADDRESSES.map(({ name, path }) => (
            <li key={path}>
              <span>{name}</span>
              <CopyText text={address(path)} label="address" wrap />
            </li>
          ))}
        </ul>
        <Group gap="sm">
          <Button component="a" href={address("docs")} variant="default">
            Open the API documentation
          </Button>
          <Text size="sm">
            <a href={address("openapi.json")}>openapi.json</a>
          </Text>
        </Group>
      </Stack>
    </Section>
  );
}
