import { Button, Group, NativeSelect, SegmentedControl, Table, Text, VisuallyHidden } from "@mantine/core";
import { CheckCircle2, CircleHelp } from "lucide-react";
import { Fragment, type ReactNode, useMemo, useState } from "react";
import {
  filterHooks,
  formatShape,
  KIND_LABEL,
  type SameOfAll,
  sameLabel,
  sameOfAll,
  SNIPPET_LABEL,
  type SnippetKind,
  snippetsFor,
} from "../../../lib/hooks";
import type { PretrainedSource } from "../../../lib/labels";
import type { Architecture, HookKind, HookPoint } from "../../../types/model";
import { CodeBlock } from "../../common/CodeBlock";
import { CopyCode } from "../../common/CopyCode";
import { CopyText } from "../../common/CopyText";
import classes from "./HookTable.module.css";

const FIRST_ROWS = 60;

interface Props {
  architecture: Architecture;
  source: PretrainedSource;
}

/** The places where activations can be read, and for each the code that does it. */
export function HookTable({ architecture, source }: Props) {
  const { hook_points: points } = architecture;
  const [kind, setKind] = useState<HookKind | null>(
    points.some((point) => point.kind === "residual") ? "residual" : null,
  );
  const [layer, setLayer] = useState<number | null>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [all, setAll] = useState(false);
  const layers = useMemo(() => [...new Set(points.flatMap((point) => point.layer ?? []))], [points]);
  const kinds = useMemo(() => countKinds(points), [points]);
  const found = filterHooks(points, { layer, kind });
  const shown = all ? found : found.slice(0, FIRST_ROWS);
  const same = sameOfAll(found);
  const said = sameLabel(same);

  return (
    <div className={classes.frame}>
      <Group gap="xs">
        <NativeSelect
          aria-label="Kind of hook point"
          size="xs"
          value={kind ?? ""}
          onChange={(event) =>
            setKind(event.currentTarget.value === "" ? null : (event.currentTarget.value as HookKind))
          }
          data={[
            { value: "", label: `Every kind (${points.length})` },
            ...kinds.map(([value, count]) => ({ value, label: `${KIND_LABEL[value]} (${count})` })),
          ]}
        />
        <NativeSelect
          aria-label="Layer"
          size="xs"
          value={layer ?? ""}
          onChange={(event) => setLayer(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))}
          data={[
            { value: "", label: "Every layer" },
            ...layers.map((value) => ({ value: String(value), label: `Layer ${value}` })),
          ]}
        />
        <Text size="xs" c="dimmed" className="num" role="status">
          {found.length === 1 ? "1 hook point" : `${found.length} hook points`}
        </Text>
      </Group>
      {found.length === 0 ? (
        <Group gap="xs">
          <Text size="sm" c="dimmed">
            Layer {layer} has no hook point of this kind.
          </Text>
          <Button
            size="compact-sm"
            variant="default"
            onClick={() => {
              setKind(null);
              setLayer(null);
            }}
          >
            Show all
          </Button>
        </Group>
      ) : (
        <>
          {said !== "" && (
            <Text size="sm" c="dimmed" className="num">
              {said}
            </Text>
          )}
          <Frame wide={same.kind === undefined || !same.output}>
            <Table verticalSpacing={4} horizontalSpacing={8} fz="xs">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th ta="right">Layer</Table.Th>
                  {same.kind === undefined && <Table.Th>Kind</Table.Th>}
                  <Table.Th>Module path</Table.Th>
                  {!same.output && <Table.Th>Output</Table.Th>}
                  <Table.Th className={classes.last}>
                    <VisuallyHidden>Code</VisuallyHidden>
                  </Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {shown.map((point) => (
                  <Fragment key={`${point.path} ${point.kind}`}>
                    <PointRow
                      point={point}
                      same={same}
                      open={chosen === point.path}
                      onToggle={() => setChosen(chosen === point.path ? null : point.path)}
                    />
                    {chosen === point.path && (
                      <Table.Tr>
                        <Table.Td
                          colSpan={3 + Number(same.kind === undefined) + Number(!same.output)}
                          className={classes.codeCell}
                        >
                          <Code point={point} architecture={architecture} source={source} />
                        </Table.Td>
                      </Table.Tr>
                    )}
                  </Fragment>
                ))}
              </Table.Tbody>
            </Table>
          </Frame>
        </>
      )}
      {shown.length < found.length && (
        <Button size="compact-sm" variant="default" onClick={() => setAll(true)}>
          Show {found.length - shown.length} more
        </Button>
      )}
    </div>
  );
}

/** As wide as it needs to be where columns vary; otherwise it fits a phone. */
function Frame({ wide, children }: { wide: boolean; children: ReactNode }) {
  if (!wide) return <div className={classes.scroll}>{children}</div>;
  return (
    <Table.ScrollContainer
      minWidth={480}
      type="native"
      tabIndex={0}
      role="region"
      aria-label="Hook points"
      className={classes.scroll}
    >
      {children}
    </Table.ScrollContainer>
  );
}

function countKinds(points: HookPoint[]): [HookKind, number][] {
  const counts = new Map<HookKind, number>();
  for (const { kind } of points) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts];
}

interface RowProps {
  point: HookPoint;
  same: SameOfAll;
  open: boolean;
  onToggle: () => void;
}

function PointRow({ point, same, open, onToggle }: RowProps) {
  const Mark = point.verified ? CheckCircle2 : CircleHelp;
  return (
    <Table.Tr data-open={open || undefined}>
      <Table.Td ta="right" className="num">
        {point.layer ?? "–"}
      </Table.Td>
      {same.kind === undefined && <Table.Td className={classes.kind}>{KIND_LABEL[point.kind]}</Table.Td>}
      <Table.Td>
        <CopyText text={point.path} label="module path" wrap />
        {point.transformer_lens !== null && (
          <CopyText text={point.transformer_lens} label="TransformerLens name" wrap>
            <span className={classes.quiet}>TransformerLens</span> {point.transformer_lens}
          </CopyText>
        )}
      </Table.Td>
      {!same.output && (
        <Table.Td className="num">
          <span className={classes.output}>{formatShape(point.shape)}</span>
          <span className={classes.output}>
            <span className={classes.quiet}>{point.output === "tuple" ? "first of the tuple" : "tensor"}</span>
            <span className={classes.mark} data-verified={point.verified || undefined}>
              <Mark size={13} aria-hidden />
              {point.verified ? "verified" : "unverified"}
            </span>
          </span>
        </Table.Td>
      )}
      <Table.Td ta="right" className={classes.last}>
        <Button
          size="compact-xs"
          variant={open ? "light" : "default"}
          aria-expanded={open}
          aria-label={`Code for ${point.path}`}
          onClick={onToggle}
        >
          Code
        </Button>
      </Table.Td>
    </Table.Tr>
  );
}

function Code({ point, architecture, source }: Props & { point: HookPoint }) {
  const [kind, setKind] = useState<SnippetKind>("transformers");
  const snippet = snippetsFor(point, architecture, source)[kind];
  return (
    <div className={classes.code}>
      <Group justify="space-between" gap="xs">
        <SegmentedControl
          size="xs"
          aria-label="Library"
          value={kind}
          onChange={(value) => setKind(value)}
          data={(["transformers", "transformer_lens", "sae_lens"] as const).map((value) => ({
            value,
            label: SNIPPET_LABEL[value],
          }))}
        />
        {"code" in snippet && <CopyCode code={snippet.code} />}
      </Group>
      {"code" in snippet ? (
        <CodeBlock label={`${SNIPPET_LABEL[kind]} code`}>{snippet.code}</CodeBlock>
      ) : (
        <Text size="sm" c="dimmed">
          {snippet.because}
        </Text>
      )}
    </div>
  );
}
