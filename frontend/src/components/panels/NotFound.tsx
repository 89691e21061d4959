import { Button } from "@mantine/core";
import { Link, useLocation } from "react-router";
import { useTitle } from "../../hooks/useTitle";
import { EmptyState } from "../common/EmptyState";

export function NotFound() {
  const { pathname } = useLocation();
  useTitle("Not found");
  return (
    <EmptyState
      title="There is no such page"
      order={1}
      action={
        <Button component={Link} to="/models">
          Go to models
        </Button>
      }
    >
      Nothing is shown at <code>{pathname}</code>.
    </EmptyState>
  );
}
