/** Round numbers along an axis. */

/** 1, 2 or 5 times a power of ten, of which about `count` go into an extent. */
export function niceStep(extent: number, count: number): number {
  const raw = extent / Math.max(count, 1);
  if (!(raw > 0) || !Number.isFinite(raw)) return 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((f) => f * power).find((step) => step >= raw * 0.999) ?? 10 * power;
}

export interface Ticks {
  step: number;
  values: number[];
}

export function ticks(start: number, stop: number, count: number): Ticks {
  const step = niceStep(stop - start, count);
  const first = Math.ceil(start / step - 1e-9);
  const last = Math.floor(stop / step + 1e-9);
  const values: number[] = [];
  for (let i = first; i <= last && values.length < 1000; i++) values.push(i * step);
  return { step, values };
}

/** A tick with as many decimals as its step has. */
export function tickLabel(value: number, step: number): string {
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  if (decimals > 6 || Math.abs(value) >= 1e7) return value.toPrecision(4);
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? (0).toFixed(decimals) : text;
}

/** A scale bar: a round length, of which about five go into what is seen, and no fewer than four. */
export function barLength(extent: number): number {
  const raw = extent / 4;
  const step = niceStep(raw, 1);
  if (step <= raw * 1.001) return step;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [5, 2, 1].map((f) => f * power).find((length) => length <= raw) ?? power;
}
