/** Where in the list an element stands; null outside of it. */
export function positionOf(element: Element): number | null {
  const position = element.closest("[data-card-index]")?.getAttribute("data-card-index");
  return position == null ? null : Number(position);
}

/** Moves the focus from a model's link to that of another one, so many places on. */
export function moveByArrows(
  event: React.KeyboardEvent,
  list: HTMLElement | null,
  steps: Partial<Record<string, number>>,
): void {
  if (!(event.target instanceof HTMLElement) || !event.target.matches("[data-card-link]")) return;
  const step = steps[event.key];
  const from = positionOf(event.target);
  if (step === undefined || from === null) return;
  const card = list?.querySelector(`[data-card-index="${from + step}"]`);
  if (card == null) return;
  event.preventDefault();
  // The whole card, not only the link that takes the focus.
  card.scrollIntoView({ block: "nearest" });
  card.querySelector<HTMLElement>("[data-card-link]")?.focus({ preventScroll: true });
}
