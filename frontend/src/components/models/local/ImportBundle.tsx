import { Button, Group, Stack, TextInput } from "@mantine/core";
import { useState } from "react";
import { importBundle, listBundles } from "../../../api/bundles";
import { useResource } from "../../../hooks/useResource";
import { type ProblemView, toProblem } from "../../../lib/problems";
import { ProblemAlert } from "../../common/ProblemAlert";
import { BundleState } from "../bundles/BundleState";

/** Brings in the models of a bundle on the server's machine, and lists the bundles that were written or read. */
export function ImportBundle() {
  const bundles = useResource("bundles", listBundles);
  const [path, setPath] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);

  async function submit() {
    setBusy(true);
    setProblem(null);
    try {
      await importBundle(path.trim());
      setPath("");
      bundles.reload();
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Stack gap="md">
      <form
        aria-label="Import a bundle"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <Stack gap="sm">
          <TextInput
            label="Bundle"
            description="An absolute path on the server's machine; of several parts, any"
            placeholder="/media/usb/model.tar"
            value={path}
            onChange={(event) => setPath(event.currentTarget.value)}
            spellCheck={false}
            autoCapitalize="none"
          />
          {problem !== null && <ProblemAlert title="The bundle was not imported" problem={problem} />}
          <Group>
            <Button type="submit" loading={busy} disabled={path.trim() === ""}>
              Import the bundle
            </Button>
          </Group>
        </Stack>
      </form>
      {bundles.problem !== null && <ProblemAlert title="The bundles cannot be listed" problem={bundles.problem} />}
      {bundles.data?.items.map((bundle) => (
        <BundleState key={bundle.id} initial={bundle} onDeleted={bundles.reload} />
      ))}
    </Stack>
  );
}
