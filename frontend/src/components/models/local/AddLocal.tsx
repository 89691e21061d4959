import { Stack, Title } from "@mantine/core";
import type { Model } from "../../../types/model";
import { CachedModels } from "./CachedModels";
import { ImportBundle } from "./ImportBundle";
import { ImportFolder } from "./ImportFolder";

/** Models that need no download: those of the shared cache, folders, and bundles. */
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
      <section aria-label="In a bundle">
        <Title order={3} mb={4}>
          In a bundle
        </Title>
        <ImportBundle />
      </section>
    </Stack>
  );
}
