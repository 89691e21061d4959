import { Button, Group, PasswordInput, Stack, Text } from "@mantine/core";
import { KeyRound, type LucideIcon } from "lucide-react";
import { useRef, useState } from "react";
import { useHubTest } from "../../hooks/useHubTest";
import { hubName } from "../../lib/hubName";
import { useSystemStore } from "../../stores/systemStore";
import type { HubAnswer, SettingsView, Verdict } from "../../types/model";
import { VerdictLabel } from "../common/VerdictLabel";
import { Section } from "../common/Section";
import { type SectionProps, useSave } from "./useSave";

/** The Hub token: whose it is, never what it is. */
export function TokenSettings({ settings, onSaved }: SectionProps) {
  const hub = useSystemStore((state) => state.system?.hub);
  const [token, setToken] = useState("");
  const [missing, setMissing] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const { busy, save } = useSave(onSaved);
  const { busy: testing, answer, test, forget } = useHubTest();
  const typed = token.trim() !== "";
  const stored = storedTokenLabel(settings, hub);

  function askForOne() {
    setMissing(true);
    field.current?.focus();
  }

  function store() {
    if (!typed) {
      askForOne();
      return;
    }
    void save({ token }, "The token was saved").then((accepted) => {
      if (accepted) setToken("");
    });
  }

  return (
    <Section label="Hub token" id="token">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          store();
        }}
      >
        <Stack gap="sm">
          <Text size="sm" component="div" role="status">
            <VerdictLabel verdict={stored.verdict} icon={stored.icon}>
              {stored.words}
            </VerdictLabel>
          </Text>
          <PasswordInput
            ref={field}
            label={settings.token_set ? "Replace the token" : "Token"}
            description={`For gated and private models on ${hubName(settings.endpoint, hub)}, and sent to no other Hub. It is saved where huggingface_hub keeps it and never shown again.`}
            placeholder="hf_…"
            value={token}
            onChange={(event) => {
              setToken(event.currentTarget.value);
              setMissing(false);
              forget();
            }}
            error={missing && "Paste a token first"}
            autoComplete="off"
          />
          <Group gap="sm">
            <Button type="submit" variant={typed ? "filled" : "default"} loading={busy}>
              Save the token
            </Button>
            <Button
              variant="default"
              loading={testing}
              onClick={() => (typed || settings.token_set ? void test(typed ? { token } : {}) : askForOne())}
            >
              Test the token
            </Button>
            {settings.token_set && (
              <Button
                variant="default"
                disabled={busy}
                onClick={() => {
                  forget();
                  void save({ token: null }, "The token was removed");
                }}
              >
                Remove the token
              </Button>
            )}
          </Group>
          {answer !== null && <Tested answer={answer} />}
        </Stack>
      </form>
    </Section>
  );
}

interface Words {
  verdict: Verdict;
  icon?: LucideIcon;
  words: string;
}

function storedTokenLabel({ token_set, token_note }: SettingsView, hub: HubAnswer | undefined): Words {
  if (!token_set) return { verdict: "unknown", icon: KeyRound, words: token_note ?? "No token is saved" };
  if (hub?.token === "invalid") return { verdict: "does_not_fit", words: "A token is saved, but the Hub rejects it" };
  if (hub?.user != null) return { verdict: "fits", words: `Signed in as ${hub.user}` };
  return { verdict: "unknown", words: "A token is saved; the Hub did not say whose it is" };
}

function Tested({ answer }: { answer: HubAnswer }) {
  const { verdict, words } = testedTokenLabel(answer);
  return (
    <Text size="sm" component="div" role="status" style={{ overflowWrap: "anywhere" }}>
      <VerdictLabel verdict={verdict}>{words}</VerdictLabel>
    </Text>
  );
}

function testedTokenLabel({ endpoint, reachable, reason, token, token_note, user }: HubAnswer): Words {
  if (!reachable)
    return { verdict: "does_not_fit", words: `${endpoint} does not answer: ${reason ?? "no reason given"}` };
  switch (token) {
    case "valid":
      return {
        verdict: "fits",
        words: `The token works: it belongs to ${user ?? "an account that the Hub does not name"}`,
      };
    case "invalid":
      return {
        verdict: "does_not_fit",
        words: `${endpoint} rejects the token. Copy it again, or create a new one there`,
      };
    case "none":
      return { verdict: "unknown", words: token_note ?? `${endpoint} was asked without a token` };
    case "unknown":
      return { verdict: "unknown", words: `${endpoint} did not say whose the token is. Test it again in a while` };
  }
}
