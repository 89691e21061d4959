import { Stack, Title } from "@mantine/core";
import type { Model } from "../../../types/model";
import { CachedModels } from "./CachedModels";
import { ImportFolder } from "./ImportFolder";

/** Models that need no download: those of the shared cache, and folders. */
export function AddLocal({ onAdded }: { onAdded?: (model: Model) => void }) {
  return (
    <Stack gap="lg">
      <section aria-label="In the Hugging Face cache">
        <Title order={3} mb={4}>
          In the Hugging Face cache
        </Title>
        <CachedModels explain />
      </section>
      <section aria-label="In a folder">
        <Title order={3} mb={4}>
          In a folder
        </Title>
        <ImportFolder onAdded={onAdded} />
      </section>
    </Stack>
  );
}
