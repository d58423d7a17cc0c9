import { useEffect, useRef } from "preact/hooks";
import { number } from "../../lib/format";
import { color, theme } from "../../lib/theme";
import type { Stage } from "../stage";

const WIDE = 210;
const TALL = 40;

/** The histogram of the plane, with handles for the darkest and the brightest shown. */
export function Contrast({ stage }: { stage: Stage }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const histogram = stage.histogram.value;
  const { low, high } = stage.range.value;
  const edges = histogram?.edges;
  // Where nearly all lies; a single hot pixel is not to press the rest together.
  const [from, to] = edges?.length
    ? domain(edges[0]!, edges[edges.length - 1]!, Math.min(low, histogram!.low), Math.max(high, histogram!.high))
    : domain(low, high, low, high);
  const x = (value: number) => ((value - from) / (to - from)) * WIDE;

  useEffect(() => {
    const element = canvas.current!;
    const ratio = window.devicePixelRatio || 1;
    [element.width, element.height] = [WIDE * ratio, TALL * ratio];
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    context.clearRect(0, 0, WIDE, TALL);
    if (!histogram || !edges) return;
    const most = Math.max(1, ...histogram.counts);
    context.fillStyle = color("ink-3");
    histogram.counts.forEach((n, i) => {
      const [a, b] = [x(edges[i]!), x(edges[i + 1]!)];
      // Square root, so that what is rare is seen too.
      const tall = Math.sqrt(n / most) * (TALL - 2);
      if (b > 0 && a < WIDE) context.fillRect(a, TALL - tall, Math.max(0.75, b - a), tall);
    });
  }, [histogram, from, to, theme.value]);

  const set = (which: "low" | "high", value: number) => {
    const gap = (to - from) / 500;
    stage.contrast.value = which === "low" ? { low: Math.min(value, high - gap), high } : { low, high: Math.max(value, low + gap) };
  };
  const drag = (which: "low" | "high") => (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    handle.setPointerCapture(event.pointerId);
    const move = (next: PointerEvent) => {
      const rect = box.current!.getBoundingClientRect();
      set(which, from + ((next.clientX - rect.left) / rect.width) * (to - from));
    };
    handle.onpointermove = move;
    handle.onpointerup = handle.onpointercancel = () => (handle.onpointermove = null);
  };
  const key = (which: "low" | "high") => (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(which, (which === "low" ? low : high) + (by * (to - from)) / 100);
  };
  const handle = (which: "low" | "high", value: number, name: string) => (
    <span class={`handle ${which}`} role="slider" tabIndex={0} aria-label={name} aria-valuenow={value} aria-valuemin={from} aria-valuemax={to}
      aria-valuetext={number(value)} data-testid={`contrast-${which}`} style={{ left: `${Math.max(0, Math.min(WIDE, x(value)))}px` }}
      onPointerDown={drag(which)} onKeyDown={key(which)} />
  );
  return (
    <div class="contrast" data-testid="contrast">
      <div class="histogram" ref={box}>
        <canvas ref={canvas} aria-hidden="true" />
        <span class="shade" style={{ left: 0, width: `${Math.max(0, Math.min(WIDE, x(low)))}px` }} />
        <span class="shade" style={{ right: 0, width: `${Math.max(0, WIDE - Math.max(0, x(high)))}px` }} />
        {handle("low", low, "Darkest value")}
        {handle("high", high, "Brightest value")}
      </div>
      <div class="contrast-values">
        <Value label="Darkest" value={low} set={(v) => set("low", v)} />
        <Value label="Brightest" value={high} set={(v) => set("high", v)} />
      </div>
      <button type="button" data-testid="contrast-auto" disabled={!histogram} title="From the 0.5th to the 99.5th percentile of this plane" onClick={stage.autoContrast}>
        Auto
      </button>
    </div>
  );
}

function Value({ label, value, set }: { label: string; value: number; set: (value: number) => void }) {
  return (
    <input type="text" inputMode="decimal" aria-label={label} title={label} value={number(value)}
      onChange={(event) => {
        const typed = Number(event.currentTarget.value);
        if (event.currentTarget.value.trim() !== "" && Number.isFinite(typed)) set(typed);
        else event.currentTarget.value = number(value);
      }} />
  );
}

/** From the lowest to the highest, but no more than a few times what is shown. */
export function domain(min: number, max: number, low: number, high: number): [number, number] {
  const span = high > low ? high - low : Math.max(1, Math.abs(low));
  const from = Math.max(Math.min(min, low), low - span * 0.6);
  const to = Math.min(Math.max(max, high), high + span * 0.9);
  return to > from ? [from, to] : [low - span / 2, low + span / 2];
}
