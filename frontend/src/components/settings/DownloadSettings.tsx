import { Button, NativeSelect, NumberInput, Stack } from "@mantine/core";
import { useForm } from "@mantine/form";
import { QUANTIZATION_LABEL } from "../../lib/labels";
import type { Quantization } from "../../types/model";
import { Fields } from "../common/Fields";
import { Section } from "../common/Section";
import { type SectionProps, useSave } from "./useSave";

const MEGA = 1_000_000;
const BEST_FIT = "";

/** Limits of downloads, and what a new one proposes. */
export function DownloadSettings({ settings, onSaved }: SectionProps) {
  const { busy, save } = useSave(onSaved);
  const limit = settings.bandwidth_limit_bytes_per_second;
  const quantization: Quantization | typeof BEST_FIT = settings.defaults.quantization ?? BEST_FIT;
  const form = useForm({
    initialValues: {
      parallel: settings.parallel_downloads as number | string,
      connections: settings.connections as number | string,
      limit: limit === null ? "" : limit / MEGA,
      order: settings.download_order,
      quantization,
    },
    validate: {
      parallel: (value) => (typeof value === "number" ? null : "Enter a number from 1 to 16"),
      connections: (value) => (typeof value === "number" ? null : "Enter a number from 1 to 64"),
    },
  });
  return (
    <Section label="Downloads" id="downloads">
      <form
        onSubmit={form.onSubmit(
          (values) =>
            void save(
              {
                parallel_downloads: Number(values.parallel),
                connections: Number(values.connections),
                download_order: values.order,
                bandwidth_limit_bytes_per_second: values.limit === "" ? null : Math.round(Number(values.limit) * MEGA),
                defaults: { quantization: values.quantization === BEST_FIT ? null : values.quantization },
              },
              "The settings were saved",
            ).then((accepted) => {
              if (accepted) form.resetDirty();
            }),
        )}
      >
        <Stack gap="sm">
          <Fields>
            <NumberInput
              label="Parallel downloads"
              min={1}
              max={16}
              allowDecimal={false}
              {...form.getInputProps("parallel")}
            />
            <NumberInput
              label="Connections per model"
              min={1}
              max={64}
              allowDecimal={false}
              {...form.getInputProps("connections")}
            />
            <NumberInput
              label="Bandwidth limit, MB per second"
              description="For all downloads together"
              inputWrapperOrder={["label", "input", "description", "error"]}
              placeholder="no limit"
              min={0.01}
              decimalScale={2}
              {...form.getInputProps("limit")}
            />
            <NativeSelect
              label="Queue order"
              data={[
                { value: "oldest_first", label: "Oldest first" },
                { value: "smallest_first", label: "Smallest first" },
              ]}
              {...form.getInputProps("order")}
            />
            <NativeSelect
              label="Default precision"
              data={[
                { value: BEST_FIT, label: "The most precise that fits" },
                ...(["none", "8bit", "4bit"] as const).map((value) => ({ value, label: QUANTIZATION_LABEL[value] })),
              ]}
              {...form.getInputProps("quantization")}
            />
          </Fields>
          <div>
            <Button type="submit" loading={busy} disabled={!form.isDirty()}>
              Save
            </Button>
          </div>
        </Stack>
      </form>
    </Section>
  );
}
