import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { placeOf, valueOf } from "../../lib/axis";
import { tickLabel, ticks } from "../../lib/ticks";
import { color, eventColor, onPage, theme } from "../../lib/theme";
import { LEFT, RIGHT } from "../pixels/geometry";
import { wheelFactor } from "../pixels/pointer";
import type { PlacedEvent, Stage } from "../stage";
import type { Trace } from "./traces";

interface Props {
  stage: Stage;
  traces: Trace[];
  label: string;
  /** Whether it shares the time axis with the image above. */
  aligned: boolean;
  types: string[];
}

const AXIS = 42;

/** Curves under the image: the same left, the same right, the same zoom. */
export function Chart({ stage, traces, label, aligned, types }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const { horizontal } = stage.info.value.plane;
  const timeLabel = horizontal.label;

  useEffect(() => {
    const element = box.current!;
    const font = "11px system-ui, sans-serif";
    const plot = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height: Math.max(80, element.clientHeight),
        padding: [8, RIGHT, 0, 0],
        legend: { show: false },
        scales: {
          x: aligned ? { time: false, auto: false, range: (_, min, max) => [min, max] } : { time: false },
        },
        axes: [
          {
            stroke: () => color("ink-2"), grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line-2"), width: 1, size: 5 },
            font, label: aligned ? timeLabel : "time (s)", labelFont: font, labelSize: 18, labelGap: 0, size: 26, gap: 3,
            // The same as under the image.
            splits: (u, _, min, max) => ticks(min, max, Math.max(2, u.bbox.width / uPlot.pxRatio / 90)).values,
            values: (_, splits) => splits.map((value) => tickLabel(value, splits.length > 1 ? splits[1]! - splits[0]! : 1)),
          },
          {
            stroke: () => color("ink-2"), grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line-2"), width: 1, size: 5 },
            font, label, labelFont: font, labelSize: LEFT - AXIS, labelGap: 0, size: AXIS, gap: 3, space: 28,
          },
        ],
        cursor: {
          y: false,
          points: { size: 6 },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => { stage.fitX(); return null; } },
        },
        series: [
          {},
          ...traces.map((trace) => ({
            label: trace.label, stroke: () => onPage(trace.color), width: 1.25, points: { show: false }, spanGaps: false,
          })),
        ],
        hooks: {
          drawClear: [(u) => drawEvents(u, stage.showEvents.peek() ? stage.events.peek() : [], types, stage.event.peek())],
          drawAxes: [(u) => drawZero(u)],
          setSelect: [(u) => {
            if (u.select.width < 4) return;
            const [a, b] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (aligned) stage.setView({ ...stage.view.peek(), x0: placeOf(horizontal, a), x1: placeOf(horizontal, b) });
            else u.setScale("x", { min: a, max: b });
          }],
        },
      },
      joined(traces),
      element,
    );
    const wheel = (event: WheelEvent) => {
      if (!aligned) return;
      event.preventDefault();
      const left = event.clientX - plot.over.getBoundingClientRect().left;
      stage.zoom(wheelFactor(event), placeOf(horizontal, plot.posToVal(left, "x")), undefined, "x");
    };
    plot.over.addEventListener("wheel", wheel, { passive: false });
    const point = (event: MouseEvent) => {
      const left = event.clientX - plot.over.getBoundingClientRect().left;
      if (aligned) stage.hover.value = { x: placeOf(horizontal, plot.posToVal(left, "x")), y: null };
    };
    plot.over.addEventListener("mousemove", point);
    plot.over.addEventListener("mouseleave", () => (stage.hover.value = null));
    const observer = new ResizeObserver(() => {
      plot.setSize({ width: Math.max(200, element.clientWidth), height: Math.max(80, element.clientHeight) });
    });
    observer.observe(element);
    const stops = [
      effect(() => {
        const { x0, x1 } = stage.view.value;
        if (aligned && stage.size.value.width > 0) {
          plot.setScale("x", { min: valueOf(horizontal, x0), max: valueOf(horizontal, x1) });
          element.dataset.range = `${valueOf(horizontal, x0)},${valueOf(horizontal, x1)}`;
        }
      }),
      effect(() => {
        stage.events.value;
        stage.event.value;
        stage.showEvents.value;
        theme.value;
        plot.redraw(false, true);
      }),
      effect(() => {
        const hover = stage.hover.value;
        if (!aligned) return;
        if (!hover) plot.setCursor({ left: -10, top: -10 }, false);
        else if (hover.y !== null) plot.setCursor({ left: plot.valToPos(valueOf(horizontal, hover.x), "x"), top: 0 }, false);
      }),
    ];
    return () => {
      for (const stop of stops) stop();
      observer.disconnect();
      plot.destroy();
    };
  }, [stage, traces, label, aligned, horizontal, types.join("\n")]);

  return <div class="chart" ref={box} data-testid="chart" data-traces={traces.length} role="img" aria-label={`${label} over time, ${traces.length} curves`} />;
}

function joined(traces: Trace[]): uPlot.AlignedData {
  if (!traces.length) return [[]];
  return uPlot.join(traces.map((trace) => [trace.time, trace.values] as uPlot.AlignedData));
}

function drawZero(u: uPlot): void {
  const { min, max } = u.scales.y ?? {};
  if (min === undefined || max === undefined || min === null || max === null || min >= 0 || max <= 0) return;
  const y = Math.round(u.valToPos(0, "y", true)) + 0.5;
  u.ctx.save();
  u.ctx.strokeStyle = color("ink-3");
  u.ctx.lineWidth = 1;
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

function drawEvents(u: uPlot, events: PlacedEvent[], types: string[], selected: number | null): void {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  for (const event of events) {
    if (event.start === null) continue;
    const x0 = u.valToPos(event.start, "x", true);
    const x1 = event.end === null ? x0 : u.valToPos(event.end, "x", true);
    const chosen = event.data.row === selected;
    u.ctx.fillStyle = eventColor(types.indexOf(event.type));
    if (x1 - x0 > 1.5) {
      u.ctx.globalAlpha = chosen ? 0.22 : 0.13;
      u.ctx.fillRect(x0, top, x1 - x0, height);
    }
    u.ctx.globalAlpha = chosen ? 1 : 0.55;
    const wide = (chosen ? 2 : 1) * uPlot.pxRatio;
    u.ctx.fillRect(x0 - wide / 2, top, wide, height);
    if (x1 - x0 > 1.5) u.ctx.fillRect(x1 - wide / 2, top, wide, height);
  }
  u.ctx.restore();
}
