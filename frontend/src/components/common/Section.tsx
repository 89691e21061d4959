import { Title } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useLocation } from "react-router";
import classes from "./Section.module.css";

interface Props {
  /** Names it for assistive technology. */
  label: string;
  /** Its heading, where that says more; null where it needs none. */
  title?: string | null;
  /** What leads here from elsewhere: /settings#id. */
  id?: string;
  children: React.ReactNode;
}

/** A part of a page, in a frame. */
export function Section({ label, title = label, id, children }: Props) {
  const { hash, key } = useLocation();
  const section = useRef<HTMLElement>(null);
  const isMeant = id !== undefined && hash === `#${id}`;
  useEffect(() => {
    if (!isMeant) return;
    section.current?.scrollIntoView();
    section.current?.focus({ preventScroll: true });
  }, [isMeant, key]);
  return (
    <section ref={section} id={id} className={classes.section} aria-label={label} tabIndex={isMeant ? -1 : undefined}>
      {title !== null && (
        <Title order={2} mb="sm">
          {title}
        </Title>
      )}
      {children}
    </section>
  );
}
