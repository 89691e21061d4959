import { type RefObject, useEffect, useRef } from "react";

/** How far from its end something counts as scrolled to it, in pixels. */
const NEAR = 64;

/** Keeps the end in sight while a text grows, until somebody scrolls away from it. The ref is for the last element. */
export function useFollowedEnd(text: string, running: boolean): RefObject<HTMLDivElement | null> {
  const last = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  useEffect(() => {
    const scroller = scrollerOf(last.current);
    if (scroller === null) return;
    const note = () => {
      follows.current = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
    };
    scroller.addEventListener("scroll", note, { passive: true });
    return () => scroller.removeEventListener("scroll", note);
  }, []);
  useEffect(() => {
    if (running) follows.current = true;
  }, [running]);
  useEffect(() => {
    const scroller = running && follows.current ? scrollerOf(last.current) : null;
    if (scroller !== null) scroller.scrollTop = scroller.scrollHeight;
  }, [text, running]);
  return last;
}

function scrollerOf(element: Element | null): Element | null {
  const above = element?.parentElement ?? null;
  if (above === null || /^(auto|scroll)$/.test(getComputedStyle(above).overflowY)) return above;
  return scrollerOf(above);
}
