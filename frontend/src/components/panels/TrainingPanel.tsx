import { Button, Title } from "@mantine/core";
import { Link } from "react-router";
import { useTitle } from "../../hooks/useTitle";
import { EmptyState } from "../common/EmptyState";

export default function TrainingPanel() {
  useTitle("Training");
  return (
    <>
      <Title order={1} mb="md">
        Training
      </Title>
      <EmptyState
        title="Training is not available in this version yet"
        action={
          <Button variant="default" component={Link} to="/models?status=ready">
            See the models that are ready
          </Button>
        }
      >
        Here you will choose a ready model, a point inside it and a text file, and train a sparse autoencoder on what
        the model computes there.
      </EmptyState>
    </>
  );
}
