import classes from "./FactLine.module.css";

interface Props {
  /** Named where a fact is more than text. */
  facts: (string | { key: string; content: React.ReactNode })[];
}

/** Short facts in a line, with dots between them; it breaks between facts. */
export function FactLine({ facts }: Props) {
  return (
    <p className={`${classes.facts} num`}>
      {facts.map((fact) =>
        typeof fact === "string" ? <span key={fact}>{fact}</span> : <span key={fact.key}>{fact.content}</span>,
      )}
    </p>
  );
}
