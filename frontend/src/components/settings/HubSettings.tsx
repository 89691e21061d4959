import { Button, Group, Radio, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { useHubTest } from "../../hooks/useHubTest";
import { useSystemStore } from "../../stores/systemStore";
import { VerdictLabel } from "../common/VerdictLabel";
import classes from "./HubSettings.module.css";
import { Section } from "../common/Section";
import { type SectionProps, useSave } from "./useSave";

type Source = "environment" | "custom" | "builtin";

/** Which Hub models come from; any choice can be tested before it is saved. */
export function HubSettings({ settings, onSaved }: SectionProps) {
  const current: Source =
    settings.endpoint_source === "builtin"
      ? "builtin"
      : settings.endpoint_source === "settings"
        ? "custom"
        : "environment";
  const [source, setSource] = useState<Source>(current);
  const [url, setUrl] = useState(current === "custom" ? settings.endpoint : "");
  const { busy, save } = useSave(onSaved);
  const hub = useSystemStore((state) => state.system?.hub);
  const { busy: testing, answer, test, forget } = useHubTest();
  const address = url.trim().replace(/\/+$/, "");
  const endpoint = { environment: null, builtin: "builtin", custom: address }[source];
  const unchanged = source === current && (source !== "custom" || address === settings.endpoint);
  const shown = answer ?? (unchanged ? hub : undefined);
  const name = source === "builtin" ? "The sample Hub" : shown?.endpoint;

  return (
    <Section label="Hub" id="hub">
      <Stack gap="sm">
        <Radio.Group
          label="Models come from"
          value={source}
          onChange={(value) => {
            setSource(value);
            forget();
          }}
        >
          <Stack gap={8} mt={8}>
            <Radio
              value="environment"
              label="The Hugging Face Hub"
              description={
                current === "environment"
                  ? `${settings.endpoint}${settings.endpoint_source === "environment" ? ", set by HF_ENDPOINT" : ""}`
                  : "https://huggingface.co, or the value of HF_ENDPOINT when the server started"
              }
            />
            <Radio
              value="custom"
              label="Another Hub or mirror"
              description="A mirror, or the address of another Modelyard ending in /hub"
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
            onChange={(event) => {
              setUrl(event.currentTarget.value);
              forget();
            }}
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
          <Button
            variant="default"
            loading={testing}
            disabled={endpoint === ""}
            onClick={() => void test(unchanged ? {} : { endpoint })}
          >
            Test the connection
          </Button>
          {shown !== undefined && (
            <Text size="sm" role="status" component="div" className={classes.answer}>
              <VerdictLabel verdict={shown.reachable ? "fits" : "does_not_fit"}>
                {shown.reachable ? `${name} answers` : `${name} does not answer: ${shown.reason ?? "no reason given"}`}
              </VerdictLabel>
            </Text>
          )}
        </Group>
        {shown?.token_note && (
          <Text size="sm" c="dimmed" className={classes.answer}>
            {shown.token_note}
          </Text>
        )}
      </Stack>
    </Section>
  );
}
