import { Title } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useLocation } from "react-router";
import classes from "./settings.module.css";

interface Props {
  title: string;
  /** What leads here from elsewhere: /settings#id. */
  id?: string;
  children: React.ReactNode;
}

export function Section({ title, id, children }: Props) {
  const { hash } = useLocation();
  const section = useRef<HTMLElement>(null);
  const isMeant = id !== undefined && hash === `#${id}`;
  useEffect(() => {
    if (isMeant) section.current?.scrollIntoView();
  }, [isMeant]);
  return (
    <section ref={section} id={id} className={classes.section} aria-label={title}>
      <Title order={2} mb="sm">
        {title}
      </Title>
      {children}
    </section>
  );
}
