/** What an address says of how an image is seen, and how one is seen where it says nothing. */

import type { ImageInfo } from "../api/types";
import { isColorMap, type ColorMap } from "../lib/lut";
import { parseAt, parseNumbers } from "../lib/query";
import type { Along, View } from "../lib/view";

export type Coloring = ColorMap | "composite";

export const usualMap = (info: ImageInfo): Coloring => (info.plane.composite ? "composite" : "gray");

export const usualAlong = (info: ImageInfo): Along => (info.plane.kymograph ? "x" : "both");

/** What an address says of how an image is seen. */
export function read(info: ImageInfo, query: URLSearchParams) {
  const map = query.get("map");
  const contrast = parseNumbers(query.get("contrast"), 2);
  const along = query.get("zoom");
  return {
    view: viewOf(query),
    at: startAt(info, parseAt(query.get("at"))),
    colorMap: isColorMap(map) || (map === "composite" && info.plane.composite) ? (map as Coloring) : usualMap(info),
    contrast: contrast && { low: contrast[0]!, high: contrast[1]! },
    along: along === "both" || along === "x" || along === "y" ? along : usualAlong(info),
    roi: parseNumbers(query.get("roi"), 1)?.[0] ?? null,
    event: parseNumbers(query.get("event"), 1)?.[0] ?? null,
    showEvents: query.get("events") !== "off",
    showRois: query.get("rois") !== "off",
  };
}

function viewOf(query: URLSearchParams): View | null {
  const x = parseNumbers(query.get("x"), 2);
  const y = parseNumbers(query.get("y"), 2);
  if (!x || !y || !(x[1]! > x[0]!) || !(y[1]! > y[0]!)) return null;
  return { x0: x[0]!, x1: x[1]!, y0: y[0]!, y1: y[1]! };
}

function startAt(info: ImageInfo, asked: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    info.sliders.map((slider) => [slider.axis, Math.min(asked[slider.axis] ?? slider.at ?? 0, Math.max(0, slider.size - 1))]),
  );
}

export const usualAt = (info: ImageInfo, axis: string) => info.sliders.find((one) => one.axis === axis)?.at ?? 0;

export const isChannel = (info: ImageInfo, name: string) =>
  info.axes.some((axis) => axis.name === name && axis.quantity === "channel");
