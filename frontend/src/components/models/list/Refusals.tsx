import { List } from "@mantine/core";
import type { Failure } from "../../../lib/bulk";
import { variantName } from "../../../lib/groups";
import type { Model } from "../../../types/model";
import { ProblemAlert } from "../../common/ProblemAlert";

/** What was refused of something done to several, each by its name. */
export function Refusals({ title, failures }: { title: string; failures: Failure<Model>[] }) {
  return (
    <ProblemAlert title={title} problem={{ code: "", message: "", hint: null }}>
      <List size="sm">
        {failures.map(({ item, problem }) => (
          <List.Item key={item.id}>
            {variantName(item)}: {problem.message} {problem.hint}
          </List.Item>
        ))}
      </List>
    </ProblemAlert>
  );
}
