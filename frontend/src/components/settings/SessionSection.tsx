import { Stack, Text } from "@mantine/core";
import { toastProblem } from "../../lib/toast";
import { useSessionStore } from "../../stores/sessionStore";
import { Section } from "../common/Section";
import { ServerButton } from "../common/ServerButton";

/** The way out, where a key is the way in. */
export function SessionSection() {
  const signOut = useSessionStore((state) => state.signOut);
  return (
    <Section label="Session" id="session">
      <Stack gap="sm" align="start">
        <Text size="sm">This browser is signed in with the server's key.</Text>
        <ServerButton
          variant="default"
          onClick={() => void signOut().catch((error: unknown) => toastProblem("Could not sign out", error))}
        >
          Sign out
        </ServerButton>
      </Stack>
    </Section>
  );
}
