import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { PlotData } from "../api/types";
import { columnLabel } from "../lib/format";
import { color, onPage, theme } from "../lib/theme";
import { histogramSteps, scatterColumns } from "./plotdata";

const padded = (_: uPlot, min: number, max: number): [number, number] => {
  const more = (max - min) * 0.03 || Math.abs(max) * 0.05 || 1;
  return [min - more, max + more];
};

const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((f) => f * 10 ** power));

export function PlotChart({ data }: { data: PlotData }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current!;
    const font = "11px system-ui, sans-serif";
    const scatter = data.kind === "scatter";
    const axis = (label: string) => ({
      stroke: () => color("ink-2"), grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line-2"), width: 1, size: 5 },
      font, label, labelFont: font, labelSize: 20, labelGap: 0, gap: 3,
    });
    const lines = (i: number): uPlot.Series =>
      scatter
        ? { paths: () => null, points: { show: true, size: 6, width: 0, fill: () => `${onPage(i)}b0`, stroke: () => onPage(i) } }
        : { paths: uPlot.paths.stepped!({ align: 1 }), stroke: () => onPage(i), fill: () => `${onPage(i)}40`, width: 1.5, points: { show: false } };
    const plot = new uPlot(
      {
        width: Math.max(240, element.clientWidth), height: Math.max(120, element.clientHeight), padding: [10, 14, 0, 0], legend: { show: false },
        scales: { x: { time: false, ...(scatter ? { range: padded } : {}) }, y: scatter ? {} : { range: (_, __, max) => [0, Math.max(1, max * 1.08)] } },
        axes: [{ ...axis(columnLabel(data.x)), size: 26 }, { ...axis(scatter ? columnLabel(data.y ?? "") : "rows"), size: 46, ...(scatter ? {} : { incrs: WHOLE }) }],
        cursor: { drag: { x: true, y: scatter, uni: 20 }, points: { show: false } },
        series: [{}, ...data.groups.map((_, i) => lines(i))],
      },
      scatter ? scatterColumns(data.groups) : histogramSteps(data.groups),
      element,
    );
    const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(240, element.clientWidth), height: Math.max(120, element.clientHeight) }));
    observer.observe(element);
    const stop = effect(() => {
      theme.value;
      plot.redraw(false, true);
    });
    return () => {
      stop();
      observer.disconnect();
      plot.destroy();
    };
  }, [data]);
  return <div class="plot-chart" ref={box} data-testid="plot-chart" data-kind={data.kind} data-groups={data.groups.length} role="img"
    aria-label={data.kind === "scatter" ? `${data.y} against ${data.x}` : `Histogram of ${data.x}`} />;
}
