import { Button, SegmentedControl, Stack, TextInput } from "@mantine/core";
import { useState } from "react";
import { downloadSae, importSae } from "../../api/saes";
import { type ProblemView, toProblem } from "../../lib/problems";
import { toastDone } from "../../lib/toast";
import { ProblemAlert } from "../common/ProblemAlert";
import { ServerButton } from "../common/ServerButton";
import { DialogButtons } from "../common/DialogButtons";

type From = "hub" | "folder";

/** Where an SAE comes from: a folder of a repository, or a folder on the server's machine. */
export function AddSae({ onDone }: { onDone: () => void }) {
  const [from, setFrom] = useState<From>("hub");
  const [repo, setRepo] = useState("");
  const [path, setPath] = useState("");
  const [folder, setFolder] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemView | null>(null);
  const ready = from === "hub" ? repo.trim() !== "" : folder.trim() !== "";

  async function add() {
    setBusy(true);
    setProblem(null);
    try {
      const body = { repo_id: repo.trim(), path: path.trim(), revision: null };
      const made = from === "hub" ? await downloadSae(body) : await importSae(folder.trim());
      toastDone(from === "hub" ? `${made.name} is being downloaded` : `${made.name} was imported`);
      onDone();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (ready && !busy) void add();
      }}
    >
      <Stack>
        <SegmentedControl
          value={from}
          onChange={(next) => {
            setFrom(next);
            setProblem(null);
          }}
          data={[
            { value: "hub", label: "From the Hub" },
            { value: "folder", label: "From a folder" },
          ]}
        />
        {from === "hub" ? (
          <>
            <TextInput
              label="Repository"
              placeholder="owner/name"
              value={repo}
              onChange={(event) => setRepo(event.currentTarget.value)}
              spellCheck={false}
              autoCapitalize="none"
              data-autofocus
            />
            <TextInput
              label="Folder in it"
              description="With cfg.json and sae_weights.safetensors; empty for the repository itself"
              value={path}
              onChange={(event) => setPath(event.currentTarget.value)}
              spellCheck={false}
              autoCapitalize="none"
            />
          </>
        ) : (
          <TextInput
            label="Folder"
            description="An absolute path on the server's machine, with cfg.json and sae_weights.safetensors"
            placeholder="/data/saes/layer-14"
            value={folder}
            onChange={(event) => setFolder(event.currentTarget.value)}
            spellCheck={false}
            autoCapitalize="none"
          />
        )}
        {problem !== null && <ProblemAlert title="It was not added" problem={problem} />}
        <DialogButtons>
          <Button variant="default" onClick={onDone}>
            Close
          </Button>
          <ServerButton type="submit" loading={busy} disabled={!ready}>
            {from === "hub" ? "Download" : "Import"}
          </ServerButton>
        </DialogButtons>
      </Stack>
    </form>
  );
}
