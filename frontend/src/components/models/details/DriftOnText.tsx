import { Button, Group, Stack, Text, Textarea } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { isAbort } from "../../../lib/apiError";
import { measureDrift } from "../../../api/models";
import { type ProblemView, toProblem } from "../../../lib/problems";
import type { Drift } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";
import { Subheading } from "../../common/Subheading";
import { DriftFacts } from "./DriftView";

/** Compares a quantized copy with its original on a text of the user's. */
export function DriftOnText({ id }: { id: string }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<Drift | null>(null);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const [running, setRunning] = useState(false);
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);

  async function compare() {
    const asked = new AbortController();
    stop.current = asked;
    setRunning(true);
    setProblem(null);
    setFound(null);
    try {
      setFound(await measureDrift(id, text, asked.signal));
    } catch (error) {
      if (!isAbort(error)) setProblem(toProblem(error));
    } finally {
      setRunning(false);
    }
  }

  return (
    <section>
      <Subheading>Drift on your own text</Subheading>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void compare();
        }}
      >
        <Stack gap="xs">
          <Textarea
            label="Text to compare on"
            description="The copy and its original are loaded one after the other; the first 1,024 tokens are compared."
            autosize
            minRows={2}
            maxRows={10}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
          <Group gap="sm">
            {running ? (
              <Button
                size="xs"
                variant="default"
                onClick={(event) => {
                  // The button under the pointer becomes the one that sends.
                  event.preventDefault();
                  stop.current?.abort();
                }}
              >
                Stop
              </Button>
            ) : (
              <ServerButton size="xs" variant="default" type="submit" disabled={text.trim() === ""}>
                Compare
              </ServerButton>
            )}
            <Text size="sm" c="dimmed" role="status" className="num">
              {running ? "Comparing" : found !== null && (found.reason ?? `Compared on ${found.tokens} tokens`)}
            </Text>
          </Group>
        </Stack>
      </form>
      {problem !== null && <ProblemAlert title="The comparison failed" problem={problem} />}
      {found !== null && found.reason === null && <DriftFacts drift={found} />}
    </section>
  );
}
