import { useEffect, useRef } from "react";
import uPlot from "uplot";
import { useColorScheme } from "../../hooks/useColorScheme";
import { formatCount } from "../../lib/bytes";
import classes from "./Plot.module.css";

const HEIGHT = 180;
const CURSOR = uPlot.sync("training");

interface Props {
  /** Tokens. */
  xs: number[];
  ys: (number | null)[];
  /** The index that is pointed at in any of the plots, or null. */
  onPoint: (index: number | null) => void;
}

/** One curve, drawn on a canvas: hundreds of points that grow several times a minute. */
export function Plot({ xs, ys, onPoint }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef<uPlot.AlignedData>([xs, ys]);
  const point = useRef(onPoint);
  const { scheme } = useColorScheme();

  useEffect(() => {
    point.current = onPoint;
  });

  useEffect(() => {
    data.current = [xs, ys];
    plot.current?.setData(data.current);
  }, [xs, ys]);

  useEffect(() => {
    const box = frame.current;
    if (box === null) return;
    const made = new uPlot(
      options(box, (index) => point.current(index)),
      data.current,
      box,
    );
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: HEIGHT }));
    resize.observe(box);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
    // A canvas does not follow the style sheet, so another scheme means another plot.
  }, [scheme]);

  return <div ref={frame} className={classes.canvas} />;
}

function formatTick(tick: number): string {
  return Math.abs(tick) >= 10_000 ? formatCount(tick) : Number(tick.toPrecision(4)).toLocaleString("en");
}

function options(box: HTMLElement, onPoint: Props["onPoint"]): uPlot.Options {
  const style = getComputedStyle(box);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const font = `11px ${style.fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: colour("--y-ink-2"),
    font,
    grid: { stroke: colour("--y-line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [8, 24, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: CURSOR.key }, drag: { x: false, y: false } },
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
    scales: { x: { time: false } },
    axes: [
      { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => formatCount(tick)) },
      { ...axis, size: 52, values: (_, ticks) => ticks.map(formatTick) },
    ],
    series: [
      {},
      {
        stroke: colour("--y-accent"),
        width: 1.75,
        spanGaps: true,
        points: { show: (plot) => plot.data[0].length < 30, size: 4, fill: colour("--y-accent") },
      },
    ],
  };
}
