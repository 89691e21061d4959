import { Group } from "@mantine/core";
import { memo, type ReactNode } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { CodeBlock } from "../../common/CodeBlock";
import { CopyCode } from "../../common/CopyCode";
import classes from "./Markdown.module.css";

/**
 * A model's text as Markdown. HTML in it stays text, nothing is fetched: images are links, and links lead only to other
 * sites, when they are followed.
 */
export default memo(function Markdown({ text }: { text: string }) {
  return (
    <div className={classes.markdown}>
      <ReactMarkdown remarkPlugins={[remarkGfm]} urlTransform={webAddress} components={COMPONENTS}>
        {text}
      </ReactMarkdown>
    </div>
  );
});

function webAddress(url: string): string {
  return /^(https?:\/\/|mailto:)/i.test(url) ? url : "";
}

function Outside({ href, children }: { href: string | undefined; children: ReactNode }) {
  if (href === undefined || href === "") return <span>{children}</span>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** Headings of an answer are none of the page. */
const heading =
  (level: number) =>
  ({ children }: { children?: ReactNode }) => (
    <p className={classes.heading} data-level={level}>
      {children}
    </p>
  );

const COMPONENTS: Components = {
  a: ({ href, children }) => <Outside href={href}>{children}</Outside>,
  img: ({ src, alt }) => <Outside href={typeof src === "string" ? src : undefined}>{alt || "Image"}</Outside>,
  h1: heading(1),
  h2: heading(2),
  h3: heading(3),
  h4: heading(4),
  h5: heading(5),
  h6: heading(6),
  // A task of a list, done or not.
  input: ({ checked }) => <span>{checked === true ? "☑ " : "☐ "}</span>,
  table: ({ children }) => (
    <div className={classes.table} role="region" aria-label="Table" tabIndex={0}>
      <table>{children}</table>
    </div>
  ),
  pre: ({ children, node }) => (
    <div className={classes.code}>
      <CodeBlock label="Code">{children}</CodeBlock>
      <Group justify="flex-end" mt={4}>
        <CopyCode code={textOf(node)} />
      </Group>
    </div>
  ),
};

interface Node {
  value?: string;
  children?: unknown[];
}

/** The text inside a node, as it was written. */
function textOf(node: unknown): string {
  const { value, children = [] } = node as Node;
  return value ?? children.map(textOf).join("");
}
