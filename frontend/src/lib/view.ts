/** What is seen of a plane, in samples as drawn: x from left to right, y from top to bottom. */

export interface View {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

export interface Frame {
  /** Samples of the plane, and what one of them measures. */
  width: number;
  height: number;
  stepX: number;
  stepY: number;
  /** Whether a circle is to look like one. */
  equal: boolean;
  /** CSS pixels there are for it. */
  pixelsWide: number;
  pixelsTall: number;
}

const SMALLEST = 4;

export function fit(frame: Frame): View {
  const whole = { x0: 0, x1: frame.width, y0: 0, y1: frame.height };
  return frame.equal ? squared(whole, frame) : whole;
}

/** The view that holds all of another one and has both axes on one scale. */
export function squared(view: View, frame: Frame): View {
  if (!frame.equal || !(frame.pixelsWide > 0) || !(frame.pixelsTall > 0)) return view;
  const unit = Math.max(
    ((view.x1 - view.x0) * frame.stepX) / frame.pixelsWide,
    ((view.y1 - view.y0) * frame.stepY) / frame.pixelsTall,
  );
  const wide = (unit * frame.pixelsWide) / frame.stepX;
  const tall = (unit * frame.pixelsTall) / frame.stepY;
  const [cx, cy] = [(view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2];
  return { x0: cx - wide / 2, x1: cx + wide / 2, y0: cy - tall / 2, y1: cy + tall / 2 };
}

function held(from: number, to: number, low: number, high: number): [number, number] {
  const span = to - from;
  if (span >= high - low) {
    const middle = (low + high) / 2;
    return [middle - span / 2, middle + span / 2];
  }
  const shift = from < low ? low - from : to > high ? high - to : 0;
  return [from + shift, to + shift];
}

/** The nearest view that is not too near, not too far, and not beside the image. */
export function clamped(view: View, frame: Frame): View {
  const whole = fit(frame);
  let { x0, x1, y0, y1 } = view;
  const limit = (from: number, to: number, least: number, most: number): [number, number] => {
    const span = Math.min(Math.max(to - from, Math.min(least, most)), most);
    const middle = (from + to) / 2;
    return [middle - span / 2, middle + span / 2];
  };
  [x0, x1] = limit(x0, x1, SMALLEST, whole.x1 - whole.x0);
  [y0, y1] = limit(y0, y1, SMALLEST, whole.y1 - whole.y0);
  if (frame.equal) ({ x0, x1, y0, y1 } = squared({ x0, x1, y0, y1 }, frame));
  [x0, x1] = held(x0, x1, 0, frame.width);
  [y0, y1] = held(y0, y1, 0, frame.height);
  return { x0, x1, y0, y1 };
}

export type Along = "both" | "x" | "y";

/** Zoom by a factor (above 1: nearer) with one point staying where it is. */
export function zoomed(view: View, frame: Frame, x: number, y: number, factor: number, along: Along): View {
  const fx = along === "y" ? 1 : 1 / factor;
  const fy = along === "x" ? 1 : 1 / factor;
  const limited = (from: number, to: number, at: number, f: number, size: number): [number, number] => {
    const span = to - from;
    const f2 = Math.min(Math.max(f, Math.min(SMALLEST, size) / span), Math.max(1, size / span));
    return [at - (at - from) * f2, at + (to - at) * f2];
  };
  const whole = fit(frame);
  if (frame.equal) {
    const f = limited(view.x0, view.x1, x, 1 / factor, whole.x1 - whole.x0);
    const share = (f[1] - f[0]) / (view.x1 - view.x0);
    return clamped({ x0: f[0], x1: f[1], y0: y - (y - view.y0) * share, y1: y + (view.y1 - y) * share }, frame);
  }
  const [x0, x1] = limited(view.x0, view.x1, x, fx, whole.x1);
  const [y0, y1] = limited(view.y0, view.y1, y, fy, whole.y1);
  return clamped({ x0, x1, y0, y1 }, frame);
}

export function panned(view: View, frame: Frame, dx: number, dy: number): View {
  return clamped({ x0: view.x0 + dx, x1: view.x1 + dx, y0: view.y0 + dy, y1: view.y1 + dy }, frame);
}

/** A view around a stretch of x, as wide as it was or wide enough for it. */
export function centredOn(view: View, frame: Frame, from: number, to: number): View {
  const span = Math.max(view.x1 - view.x0, (to - from) * 2);
  const middle = (from + to) / 2;
  return clamped({ ...view, x0: middle - span / 2, x1: middle + span / 2 }, frame);
}

export function isWhole(view: View, frame: Frame): boolean {
  const whole = fit(frame);
  const near = (a: number, b: number, size: number) => Math.abs(a - b) < size * 1e-6;
  return (
    near(view.x0, whole.x0, frame.width) && near(view.x1, whole.x1, frame.width) &&
    near(view.y0, whole.y0, frame.height) && near(view.y1, whole.y1, frame.height)
  );
}

/** Samples with as many digits as one pixel tells. */
export function viewText(view: View, frame: Frame): { x: string; y: string } {
  const text = (value: number, span: number, pixels: number) => {
    const digits = Math.max(0, Math.ceil(-Math.log10(span / Math.max(1, pixels))) + 1);
    return String(Number(value.toFixed(Math.min(digits, 6))));
  };
  const [wide, tall] = [view.x1 - view.x0, view.y1 - view.y0];
  return {
    x: [view.x0, view.x1].map((v) => text(v, wide, frame.pixelsWide)).join(","),
    y: [view.y0, view.y1].map((v) => text(v, tall, frame.pixelsTall)).join(","),
  };
}

/** The same stretch of another plane: in its units where both are in the same ones, or else as shares of its sides. */
export function carried(view: View, from: Frame, to: Frame, measured: { x: boolean; y: boolean }): View {
  const x = measured.x ? from.stepX / to.stepX : to.width / from.width;
  const y = measured.y ? from.stepY / to.stepY : to.height / from.height;
  return { x0: view.x0 * x, x1: view.x1 * x, y0: view.y0 * y, y1: view.y1 * y };
}
