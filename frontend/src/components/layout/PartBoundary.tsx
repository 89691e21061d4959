import { Button } from "@mantine/core";
import { Component } from "react";
import { ProblemAlert } from "../common/ProblemAlert";

interface Props {
  /** Where the page is: what failed elsewhere is forgotten. */
  at: string;
  children: React.ReactNode;
}

interface State {
  error: Error | null;
}

/** Keeps the frame of the page, and a way on, where a part of it cannot be fetched or fails. */
export class PartBoundary extends Component<Props, State> {
  override state: State = { error: null };

  static getDerivedStateFromError(error: Error): State {
    return { error };
  }

  override componentDidUpdate(before: Props): void {
    if (before.at !== this.props.at && this.state.error !== null) this.setState({ error: null });
  }

  override render(): React.ReactNode {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <ProblemAlert
        title="This part of the page cannot be shown"
        problem={{
          code: "page_failed",
          message: error.message,
          hint: "Reload the page: the server may have been updated since it was opened.",
        }}
      >
        <Button size="compact-sm" variant="default" onClick={() => window.location.reload()}>
          Reload the page
        </Button>
      </ProblemAlert>
    );
  }
}
