import { Stack, Text } from "@mantine/core";
import type { Resource } from "../../../hooks/useResource";
import { formatBytes } from "../../../lib/bytes";
import type { ModelCard } from "../../../types/model";
import { EmptyState } from "../../common/EmptyState";
import { Placeholder } from "../../common/Placeholder";
import { ProblemAlert } from "../../common/ProblemAlert";
import { TryAgain } from "../../common/TryAgain";
import classes from "./CardView.module.css";

/** A model card, or why it is not there. */
export function CardText({ card, name }: { card: Resource<ModelCard>; name: string }) {
  if (card.problem !== null)
    return (
      <ProblemAlert title="The model card is not available" problem={card.problem}>
        <TryAgain onClick={card.reload} />
      </ProblemAlert>
    );
  if (card.data === null) return <Placeholder h={200} label="Loading the model card" />;
  if (card.data.html.trim() === "")
    return <EmptyState title="No model card">The repository has no README.md with text.</EmptyState>;
  return (
    <Stack gap="sm">
      {/* The server has written it anew from known tags only; the page's policy allows no script in it either. */}
      <article
        className={classes.card}
        aria-label={`Model card of ${name}`}
        dangerouslySetInnerHTML={{ __html: card.data.html }}
      />
      {card.data.truncated && (
        <Text size="sm" c="dimmed">
          The first {formatBytes(new Blob([card.data.text]).size)} are shown.
        </Text>
      )}
    </Stack>
  );
}
