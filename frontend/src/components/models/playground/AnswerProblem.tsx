import { Text } from "@mantine/core";
import { useOfflineReason } from "../../../hooks/useOfflineReason";
import type { ProblemView } from "../../../lib/problems";
import type { Mode } from "../../../lib/trial";
import { canSend, type Trial, usePlaygroundStore } from "../../../stores/playgroundStore";
import type { Model } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";
import { ServerButton } from "../../common/ServerButton";

interface Props {
  model: Model;
  trial: Trial;
  mode: Mode;
  problem: ProblemView;
}

/** Why there is no answer, or only a part of one, in the server's words, and what to do. */
export function AnswerProblem({ model, trial, mode, problem }: Props) {
  const { send, regenerate, setMode, setDraft, clear } = usePlaygroundStore.getState();
  const away = useOfflineReason();
  const { id } = model;
  if (problem.code === "no_tokenizer")
    return (
      <ProblemAlert title="This model can't generate text" problem={problem}>
        <Text size="sm">You can load it in Python and pass token ids.</Text>
      </ProblemAlert>
    );
  const sends = trial.retry === "send";
  const hasTemplate = mode === "text" || model.has_chat_template === true || problem.code !== "invalid_request";
  return (
    <ProblemAlert title={hasTemplate ? "The generation failed" : "Chat is not available"} problem={problem}>
      {hasTemplate ? (
        <>
          <ServerButton
            size="compact-sm"
            variant="default"
            disabled={sends && !canSend(trial, mode)}
            onClick={() => void (sends ? send(id, mode) : regenerate(id, mode))}
          >
            Try again
          </ServerButton>
          {problem.code === "context_length_exceeded" && mode === "chat" && trial.turns.chat.length > 0 && (
            <ServerButton size="compact-sm" variant="default" onClick={() => clear(id, mode)}>
              New chat
            </ServerButton>
          )}
        </>
      ) : (
        <ServerButton
          size="compact-sm"
          variant="default"
          disabled={away !== undefined}
          onClick={() => {
            setDraft(id, "text", trial.drafts.chat);
            setMode(id, "text");
            void send(id, "text");
          }}
        >
          Continue it as text
        </ServerButton>
      )}
    </ProblemAlert>
  );
}
