/** What is seen of one image, as signals that canvas, chart, lists and address share. */

import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { EventRow, Histogram, ImageInfo, Roi } from "../api/types";
import { lut, PRIMARIES, tint, TINTS } from "../lib/lut";
import { formatAt } from "../lib/query";
import { params, setQuery } from "../lib/router";
import type { Plane } from "../lib/tiles";
import type { Mask } from "./regions/masks";
import { wholeBox } from "./regions/rois";
import { isChannel, read, usualAlong, usualAt, usualMap } from "./seen";
import { centredOn, clamped, fit, isWhole, panned, squared, viewText, zoomed, type Along, type Frame, type View } from "../lib/view";

export interface Hover {
  /** Samples as drawn; y is null while the mouse is over the chart. */
  x: number;
  y: number | null;
}

/** One plane of those that are drawn over each other. */
export interface Layer {
  channel: number;
  at: string;
  color: string | null;
  colors: import("./pixels/tilecache").Colors;
}

interface Range {
  low: number;
  high: number;
}

export interface Draft {
  /** null: a new one. */
  roi: Roi | null;
  x0: number;
  x1: number;
  y0: number;
  y1: number;
  name: string;
  note: string;
}

export class Stage {
  readonly info;
  readonly size = signal({ width: 0, height: 0 });
  readonly view;
  readonly hover = signal<Hover | null>(null);
  readonly at;
  readonly colorMap;
  /** What somebody chose; null is what the image suggests. */
  readonly contrast: Signal<Range | null>;
  readonly histogram = signal<Histogram | null>(null);
  readonly along;
  readonly roi;
  readonly event;
  readonly events = signal<PlacedEvent[]>([]);
  readonly showEvents;
  readonly showRois;
  readonly masks = signal<ReadonlyMap<number, Mask>>(new Map());
  readonly draft = signal<Draft | null>(null);
  readonly drawing = signal(false);
  /** An event that is being drawn or dragged, in samples; row null: a new one. */
  readonly eventDraft = signal<{ row: number | null; x0: number; x1: number } | null>(null);
  readonly plane: ReadonlySignal<Plane>;
  readonly frame: ReadonlySignal<Frame>;
  readonly range: ReadonlySignal<Range>;
  readonly #auto;
  readonly #autos = signal<ReadonlyMap<number, Range>>(new Map());
  /** What somebody chose for channels of a composite. */
  readonly #chosen = new Map<number, Range>();
  readonly layers: ReadonlySignal<Layer[]>;
  #wanted: View | null;
  #stop: (() => void)[] = [];

  /** `query` is what the address says; without `tells` what is seen is not written into it. */
  constructor(info: ImageInfo, query = params.peek(), tells = true) {
    const told = read(info, query);
    this.info = signal(info);
    this.at = signal(told.at);
    this.colorMap = signal(told.colorMap);
    this.contrast = signal(told.contrast);
    this.along = signal(told.along);
    this.roi = signal(told.roi);
    this.event = signal(told.event);
    this.showEvents = signal(told.showEvents);
    this.showRois = signal(told.showRois);
    this.#auto = signal<Range | null>(null);
    this.plane = computed(() => {
      const { horizontal, vertical, turned } = this.info.value.plane;
      return { width: horizontal.size, height: vertical.size, turned, levels: this.info.value.levels };
    });
    this.frame = computed<Frame>(() => {
      const { horizontal, vertical, true_to_scale } = this.info.value.plane;
      return {
        width: horizontal.size, height: vertical.size, stepX: horizontal.step, stepY: vertical.step,
        equal: true_to_scale, pixelsWide: this.size.value.width, pixelsTall: this.size.value.height,
      };
    });
    // Until the histogram of another channel is there, that of the first one serves.
    this.range = computed(() => this.contrast.value ?? (this.#isRgb() ? WHOLE_BYTE : this.#auto.value ?? this.info.value.contrast ?? { low: 0, high: 1 }));
    this.layers = computed(() => this.#layers());
    this.#wanted = told.view;
    this.view = signal<View>(this.#wanted ?? fit(this.frame.peek()));
    this.#stop.push(effect(() => {
      const { width, height } = this.size.value;
      if (width > 0 && height > 0) this.#resized();
    }));
    this.#stop.push(effect(() => this.#tell(usualAlong(info), tells)));
  }

  /** The axis of channels that are drawn over each other; null: one plane is drawn. */
  get compositeAxis(): string | null {
    const { plane, axes } = this.info.value;
    if (this.colorMap.value !== "composite" || !plane.composite) return null;
    return axes.find((axis) => axis.quantity === "channel")?.name ?? null;
  }

  #isRgb = () => this.colorMap.value === "composite" && this.info.value.plane.composite === "rgb";

  #layers(): Layer[] {
    const axis = this.compositeAxis;
    const at = this.at.value;
    const name = this.colorMap.value;
    const now = this.range.value;
    if (!axis) {
      const map = name === "composite" ? "gray" : name;
      return [{ channel: 0, at: formatAt(at), color: null, colors: { ...now, table: lut(map), name: map } }];
    }
    const colors = this.#isRgb() ? PRIMARIES : TINTS;
    const size = this.info.value.sliders.find((one) => one.axis === axis)?.size ?? 1;
    return colors.slice(0, size).map((color, channel) => {
      const auto = this.#isRgb() ? WHOLE_BYTE : this.#autos.value.get(channel) ?? this.info.value.contrast ?? { low: 0, high: 1 };
      const range = channel === at[axis] ? now : this.#chosen.get(channel) ?? auto;
      return { channel, at: formatAt({ ...at, [axis]: channel }), color, colors: { ...range, table: tint(color), name: color } };
    });
  }

  /** The contrast that suits a channel that is not the chosen one. */
  gotAuto(channel: number, { low, high }: Histogram): void {
    if (!this.#autos.peek().has(channel)) this.#autos.value = new Map(this.#autos.peek()).set(channel, { low, high });
  }

  dispose(): void {
    for (const stop of this.#stop) stop();
  }

  #resized(): void {
    const frame = this.frame.peek();
    const old = this.#wanted ?? this.view.peek();
    // What was all of it stays all of it.
    this.view.value = this.#whole && !this.#wanted ? fit(frame) : clamped(squared(old, frame), frame);
    this.#wanted = null;
  }

  #whole = true;
  #tell(usual: Along, tells: boolean): void {
    const frame = this.frame.value;
    if (!(frame.pixelsWide > 0)) return;
    const view = this.view.value;
    this.#whole = isWhole(view, frame);
    if (!tells) return;
    const text = viewText(view, frame);
    const contrast = this.contrast.value;
    const info = this.info.value;
    const at = Object.fromEntries(Object.entries(this.at.value).filter(([axis, value]) => value !== usualAt(info, axis)));
    setQuery({
      x: this.#whole ? null : text.x,
      y: this.#whole ? null : text.y,
      at: formatAt(at),
      map: this.colorMap.value === usualMap(info) ? null : this.colorMap.value,
      contrast: contrast && [contrast.low, contrast.high].map((n) => Number(n.toPrecision(6))).join(","),
      zoom: this.along.value === usual ? null : this.along.value,
      roi: this.roi.value,
      event: this.event.value,
      events: this.showEvents.value ? null : "off",
      rois: this.showRois.value ? null : "off",
    }, "later");
  }

  /** The address was changed by the browser's way back or forth. */
  follow(query: URLSearchParams): void {
    batch(() => {
      const frame = this.frame.peek();
      const told = read(this.info.peek(), query);
      this.view.value = clamped(squared(told.view ?? fit(frame), frame), frame);
      this.at.value = told.at;
      this.colorMap.value = told.colorMap;
      this.contrast.value = told.contrast;
      this.along.value = told.along;
      this.roi.value = told.roi;
      this.event.value = told.event;
      this.showEvents.value = told.showEvents;
      this.showRois.value = told.showRois;
    });
  }

  fit = () => { this.view.value = fit(this.frame.peek()); };
  fitX = () => {
    const { x0, x1 } = fit(this.frame.peek());
    this.view.value = clamped({ ...this.view.peek(), x0, x1 }, this.frame.peek());
  };
  pan = (dx: number, dy: number) => { this.view.value = panned(this.view.peek(), this.frame.peek(), dx, dy); };
  setView = (view: View) => { this.view.value = clamped(view, this.frame.peek()); };
  zoom(factor: number, x?: number, y?: number, along: Along = this.along.peek()): void {
    const { x0, x1, y0, y1 } = this.view.peek();
    this.view.value = zoomed(this.view.peek(), this.frame.peek(), x ?? (x0 + x1) / 2, y ?? (y0 + y1) / 2, factor, along);
  }

  setAt(axis: string, value: number): void {
    const before = this.at.peek()[axis] ?? 0;
    batch(() => {
      this.at.value = { ...this.at.peek(), [axis]: value };
      this.histogram.value = null;
      // Another channel is as bright as it is.
      if (isChannel(this.info.peek(), axis)) {
        if (this.contrast.peek()) this.#chosen.set(before, this.contrast.peek()!);
        this.contrast.value = this.compositeAxis ? this.#chosen.get(value) ?? null : null;
        this.#auto.value = this.#autos.peek().get(value) ?? null;
      }
    });
  }

  gotHistogram(found: Histogram): void {
    batch(() => {
      this.histogram.value = found;
      if (!this.#auto.peek()) this.#keep({ low: found.low, high: found.high });
    });
  }

  autoContrast = () => {
    const found = this.histogram.peek();
    batch(() => {
      this.contrast.value = null;
      if (found) this.#keep({ low: found.low, high: found.high });
    });
  };

  /** What suits a channel, for when one comes back to it. */
  #keep(range: Range): void {
    this.#auto.value = range;
    const channel = this.info.peek().axes.find((axis) => axis.quantity === "channel");
    this.#autos.value = new Map(this.#autos.peek()).set(channel ? (this.at.peek()[channel.name] ?? 0) : 0, range);
  }

  /** Begin a rectangle in the middle of what is seen. */
  draftInView(): void {
    const { x0, x1, y0, y1 } = this.view.peek();
    const box = wholeBox({ x0: (3 * x0 + x1) / 4, x1: (x0 + 3 * x1) / 4, y0: (3 * y0 + y1) / 4, y1: (y0 + 3 * y1) / 4 }, this.plane.peek());
    batch(() => {
      this.draft.value = { roi: null, name: "", note: "", ...box };
      this.drawing.value = false;
    });
  }

  /** Move to an event and select it. */
  goTo(event: PlacedEvent): void {
    batch(() => {
      this.event.value = event.data.row;
      if (event.x0 === null) return;
      const { x0, x1 } = this.view.peek();
      if (x1 - x0 < this.plane.peek().width * 0.999) {
        this.view.value = centredOn(this.view.peek(), this.frame.peek(), event.x0, event.x1 ?? event.x0);
      }
    });
  }

  step(by: 1 | -1): void {
    const all = this.events.peek();
    if (!all.length) return;
    const now = all.findIndex((one) => one.data.row === this.event.peek());
    const to = now < 0 ? (by === 1 ? 0 : all.length - 1) : Math.min(Math.max(now + by, 0), all.length - 1);
    this.goTo(all[to]!);
  }

  /** Whether a region is of the plane that is seen. */
  shows(roi: Roi): boolean {
    const { axes } = this.info.value;
    const at = this.at.value;
    return axes.every((axis) => {
      const here = at[axis.name];
      if (here === undefined) return true;
      if (axis.quantity === "channel") return (roi.channel ?? 1) === here + 1;
      return axis.name !== "z" || (roi.z ?? 0) === here;
    });
  }
}

export interface PlacedEvent {
  data: EventRow;
  type: string;
  /** First and last sample along the axis from left to right; null where no time is known. */
  x0: number | null;
  x1: number | null;
  start: number | null;
  end: number | null;
}

const WHOLE_BYTE: Range = { low: 0, high: 255 };
