import { useEffect, useState } from "react";
import { useLocation } from "react-router";

/** Below the bar at the top, and a little more. */
const READING_LINE_PX = 120;

/** Which of these sections is being read: the one that the address names while it is in sight, else the one at the top. */
export function useSectionInView(ids: string[]): string | undefined {
  const { hash, key } = useLocation();
  const [current, setCurrent] = useState<string>();
  const listed = ids.join(" ");
  useEffect(() => {
    const look = () => setCurrent(inView(listed.split(" "), hash.slice(1)));
    look();
    window.addEventListener("scroll", look, { passive: true });
    return () => window.removeEventListener("scroll", look);
  }, [listed, hash, key]);
  return current;
}

function inView(ids: string[], named: string): string | undefined {
  const boxes = ids.flatMap((id) => {
    const box = document.getElementById(id)?.getBoundingClientRect();
    return box === undefined ? [] : [{ id, box }];
  });
  const meant = boxes.find(({ id }) => id === named)?.box;
  if (meant !== undefined && meant.top >= 0 && meant.top < window.innerHeight - READING_LINE_PX) return named;
  return (boxes.findLast(({ box }) => box.top <= READING_LINE_PX) ?? boxes[0])?.id;
}
