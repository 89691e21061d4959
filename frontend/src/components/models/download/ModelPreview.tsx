import { Anchor, Button, Collapse, Group, Text, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { ChevronDown, ChevronRight } from "lucide-react";
import { Suspense, useState } from "react";
import { Link } from "react-router";
import { getHubArchitecture } from "../../../api/models";
import { formatBytes, formatCount } from "../../../lib/bytes";
import { lazyWithRetry } from "../../../hooks/lazyWithRetry";
import { ACCESS_LABEL } from "../../../lib/labels";
import type { MemoryEstimate, ModelInfo } from "../../../types/model";
import { CopyText } from "../../common/CopyText";
import { Fact, Facts } from "../../common/Facts";
import { Placeholder } from "../../common/Placeholder";
import { FileTable } from "./FileTable";
import { HubCard } from "./HubCard";
import classes from "./ModelPreview.module.css";
import { VerdictLabel } from "../../common/VerdictLabel";

const ArchitectureView = lazyWithRetry(() => import("../architecture/ArchitectureView"));

const SUPPORT = {
  supported: { verdict: "fits", word: "supported" },
  unverified: { verdict: "tight", word: "not verified" },
  unsupported: { verdict: "does_not_fit", word: "not supported" },
  unchecked: { verdict: "unknown", word: "not checked yet" },
} as const;

interface Props {
  info: ModelInfo;
  /** Null as long as there is none. */
  estimate: MemoryEstimate | null;
  /** Asks for `info` again. */
  onRecheck: () => void;
}

/** What the Hub tells of a model before a byte of weights is fetched. */
export function ModelPreview({ info, estimate, onRecheck }: Props) {
  const { level, reasons, unchecked } = supportOf(info, estimate);
  const support = SUPPORT[level];
  const { num_layers: layers, hidden_size: hidden, max_position_embeddings: context } = info.dimensions;
  return (
    <section className={classes.preview} aria-label={`About ${info.model_id}`}>
      <div className={classes.head}>
        <h3>{info.canonical_id}</h3>
        <CopyText text={info.commit} label="commit">
          {info.commit.slice(0, 10)}
        </CopyText>
      </div>
      <Facts columns={320}>
        <Fact name="Parameters">{info.num_parameters === null ? null : formatCount(info.num_parameters)}</Fact>
        {info.adapter === null ? (
          <>
            <Fact name="Architecture">{info.architecture ?? info.model_type}</Fact>
            <Fact name="Shape">
              {layers == null || hidden == null ? "unknown" : `${layers} layers × ${hidden}`}
              {context != null && `, ${context.toLocaleString("en")} context`}
            </Fact>
          </>
        ) : (
          <>
            <Fact name="Adapter of">{info.adapter.base_model}</Fact>
            <Fact name="Rank">{info.adapter.rank}</Fact>
            <Fact name="Changes">{info.adapter.target_modules.join(", ")}</Fact>
            <Fact name="Memory">{`${formatBytes(info.adapter.memory_bytes)} on top of the base model`}</Fact>
          </>
        )}
        {info.already_quantized !== null && (
          <Fact name="Stored as">{`already quantized (${info.already_quantized})`}</Fact>
        )}
        <Fact name="Licence">{info.licence}</Fact>
        <Fact name="Access">
          <AccessLabel info={info} />
        </Fact>
        <Fact name="Transformers">
          <VerdictLabel verdict={support.verdict}>{support.word}</VerdictLabel>
        </Fact>
        {info.adapter === null && (
          <Fact name="Tokenizer">{info.has_tokenizer ? "included" : "none in the repository"}</Fact>
        )}
      </Facts>
      {reasons.map((reason) => (
        <Text key={reason.code + reason.message} size="sm">
          {reason.message}
        </Text>
      ))}
      {unchecked !== null && (
        <Group gap="xs">
          <Text size="sm">{unchecked}</Text>
          <Button size="compact-sm" variant="default" onClick={onRecheck}>
            Check again
          </Button>
        </Group>
      )}
      {info.warnings.map((warning) => (
        <Text key={warning} size="sm" c="dimmed">
          {warning}
        </Text>
      ))}
    </section>
  );
}

interface ContentsProps extends Pick<Props, "info"> {
  revision: string | null;
  /** The card too: there is no room for it elsewhere. */
  card: boolean;
}

/** What takes room only on demand: files, structure, and the card on a narrow screen. */
export function ModelContents({ info, revision, card }: ContentsProps) {
  return (
    <div>
      {card && <CardLine info={info} />}
      <FilesLine info={info} />
      {info.support.level !== "unsupported" && info.adapter === null && (
        <ArchitectureLine info={info} revision={revision} />
      )}
    </div>
  );
}

type Reason = ModelInfo["support"]["reasons"][number];

interface ShownSupport {
  level: keyof typeof SUPPORT;
  reasons: Reason[];
  /** Why transformers was not asked in time; null where it was, or where an exact estimate has settled it since. */
  unchecked: string | null;
}

function supportOf({ support }: ModelInfo, estimate: MemoryEstimate | null): ShownSupport {
  const late = support.reasons.find(({ code }) => code === "not_inspected");
  if (late === undefined) return { ...support, unchecked: null };
  const reasons = support.reasons.filter((reason) => reason !== late);
  // Exact figures are those of the model as transformers has built it.
  if (estimate?.method === "exact")
    return { level: reasons.length === 0 ? "supported" : support.level, reasons, unchecked: null };
  const limit = /^No answer within (\d+ s)\.?$/.exec(late.message)?.[1];
  const why = limit === undefined ? late.message : `the check took longer than ${limit}.`;
  return { level: "unchecked", reasons, unchecked: `Not checked yet: ${why}` };
}

/** As the other facts are written. */
function lowered(words: string): string {
  return words.charAt(0).toLowerCase() + words.slice(1);
}

function AccessLabel({ info }: { info: ModelInfo }) {
  const words = lowered(ACCESS_LABEL[info.access]);
  if (info.access === "needs_acceptance") {
    return (
      <>
        {words}.{" "}
        <Anchor href={`${info.endpoint}/${info.canonical_id}`} target="_blank" rel="noreferrer" fz="inherit">
          Read and accept them
        </Anchor>
      </>
    );
  }
  if (info.access === "no_token" || info.access === "token_invalid") {
    return (
      <>
        {words}.{" "}
        <Anchor component={Link} to="/settings" fz="inherit">
          Set a token
        </Anchor>
      </>
    );
  }
  return words;
}

function FilesLine({ info }: { info: ModelInfo }) {
  const [open, { toggle }] = useDisclosure(false);
  const fetched = info.files.filter((file) => file.fetch).length;
  const skipped = info.files.length - fetched;
  const cached = info.size_bytes - info.missing_bytes;
  return (
    <div>
      <UnstyledButton onClick={toggle} aria-expanded={open} className={`${classes.more} num`}>
        <Chevron open={open} />
        {fetched === 1 ? "1 file" : `${fetched} files`}
        {cached > 0 && `, ${formatBytes(cached)} already in the cache`}
        {skipped > 0 && `; ${skipped} skipped`}
      </UnstyledButton>
      <Collapse expanded={open} transitionDuration={100}>
        <FileTable
          files={info.files.map(({ path, size_bytes, sha256, fetch, reason }) => ({
            path,
            size_bytes,
            sha256,
            remark: fetch ? reason : `not downloaded: ${reason}`,
            state: fetch ? "normal" : "skipped",
          }))}
        />
      </Collapse>
    </div>
  );
}

function CardLine({ info }: { info: ModelInfo }) {
  const [open, { toggle }] = useDisclosure(false);
  return (
    <div>
      <UnstyledButton onClick={toggle} aria-expanded={open} className={classes.more}>
        <Chevron open={open} />
        Model card
      </UnstyledButton>
      {open && <HubCard info={info} />}
    </div>
  );
}

/** Loaded when it is first opened: the server builds the model's skeleton for it. */
function ArchitectureLine({ info, revision }: { info: ModelInfo; revision: string | null }) {
  const [open, setOpen] = useState(false);
  return (
    <div>
      <UnstyledButton onClick={() => setOpen(!open)} aria-expanded={open} className={classes.more}>
        <Chevron open={open} />
        Architecture and hook points
      </UnstyledButton>
      {open && (
        <div className={classes.architecture}>
          <Suspense fallback={<Placeholder h={160} label="Loading" />}>
            <ArchitectureView
              about={`${info.model_id}@${info.commit}`}
              load={(signal) => getHubArchitecture(info.model_id, info.commit, signal)}
              source={{ name: info.model_id, revision }}
            />
          </Suspense>
        </div>
      )}
    </div>
  );
}

function Chevron({ open }: { open: boolean }) {
  const Icon = open ? ChevronDown : ChevronRight;
  return <Icon size={14} aria-hidden />;
}
