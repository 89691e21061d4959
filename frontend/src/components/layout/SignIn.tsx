import { Button, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { signIn } from "../../api/system";
import { type ProblemView, toProblem } from "../../lib/problems";
import { useSessionStore } from "../../stores/sessionStore";
import { Brand } from "./Brand";
import classes from "./SignIn.module.css";

export function SignIn() {
  const signedIn = useSessionStore((state) => state.signedIn);
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function submit() {
    setBusy(true);
    try {
      await signIn(key);
      signedIn();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  const wrong = problem?.code === "unauthorized" ? "This is not the server's key." : problem?.message;
  return (
    <main className={classes.page}>
      <form
        className={classes.card}
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <Stack gap="md">
          <Brand />
          <div>
            <Title order={1} size="h2">
              Sign in
            </Title>
            <Text c="dimmed" mt={4}>
              This server is protected by a key: the value of <code>MODELYARD_API_KEY</code> on the machine that runs
              it.
            </Text>
          </div>
          <PasswordInput
            label="Server key"
            value={key}
            onChange={(event) => setKey(event.currentTarget.value)}
            error={wrong}
            autoComplete="current-password"
            autoFocus
            required
          />
          <Button type="submit" loading={busy} disabled={key === ""}>
            Sign in
          </Button>
        </Stack>
      </form>
    </main>
  );
}
