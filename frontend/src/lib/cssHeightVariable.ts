/** A ref that keeps an element's height in a variable of the page, for what has to stay clear of it. */
export function cssHeightVariable(variable: string) {
  return (element: HTMLElement | null) => {
    if (element === null) return;
    const page = document.documentElement.style;
    const observer = new ResizeObserver(() => page.setProperty(variable, `${element.offsetHeight}px`));
    observer.observe(element);
    return () => {
      observer.disconnect();
      page.removeProperty(variable);
    };
  };
}
