/** Regions between the payload (x along columns, y along rows) and what is drawn. */

import type { Roi } from "../../api/types";
import type { Plane } from "../../lib/tiles";
import type { View } from "../../lib/view";

/** The points of a line, an area or points as drawn, in samples from the edge; null of other kinds. */
export function outlineOfRoi(roi: Roi, turned: boolean): [number, number][] | null {
  return roi.outline?.map(([x, y]) => (turned ? [y + 0.5, x + 0.5] : [x + 0.5, y + 0.5])) ?? null;
}

/** Where a region is as drawn; null of a mask, whose pixels are its own array. */
export function boxOfRoi(roi: Roi, turned: boolean): View | null {
  const outline = outlineOfRoi(roi, turned);
  if (outline) {
    const [xs, ys] = [outline.map(([x]) => x), outline.map(([, y]) => y)];
    return { x0: Math.min(...xs), x1: Math.max(...xs), y0: Math.min(...ys), y1: Math.max(...ys) };
  }
  const { x0, x1, y0, y1 } = roi.data ?? {};
  if (x0 === undefined || x1 === undefined || y0 === undefined || y1 === undefined) return null;
  return turned ? { x0: y0, x1: y1, y0: x0, y1: x1 } : { x0, x1, y0, y1 };
}

export function dataOfBox(box: View, turned: boolean): { x0: number; x1: number; y0: number; y1: number } {
  return turned
    ? { x0: box.y0, x1: box.y1, y0: box.x0, y1: box.x1 }
    : { x0: box.x0, x1: box.x1, y0: box.y0, y1: box.y1 };
}

/** A box of whole samples within the plane, at least one sample large. */
export function wholeBox(box: View, plane: Plane): View {
  const side = (a: number, b: number, size: number): [number, number] => {
    const low = Math.min(Math.max(0, Math.floor(Math.min(a, b) + 1e-6)), size - 1);
    const high = Math.min(Math.max(low + 1, Math.ceil(Math.max(a, b) - 1e-6)), size);
    return [low, high];
  };
  const [x0, x1] = side(box.x0, box.x1, plane.width);
  const [y0, y1] = side(box.y0, box.y1, plane.height);
  return { x0, x1, y0, y1 };
}

export type Grip = "n" | "s" | "w" | "e" | "nw" | "ne" | "sw" | "se" | "inside";

/** What of a box is under the mouse, all in pixels. */
export function gripAt(box: View, x: number, y: number, reach = 7): Grip | null {
  if (x < box.x0 - reach || x > box.x1 + reach || y < box.y0 - reach || y > box.y1 + reach) return null;
  const west = Math.abs(x - box.x0) <= reach;
  const east = !west && Math.abs(x - box.x1) <= reach;
  const north = Math.abs(y - box.y0) <= reach;
  const south = !north && Math.abs(y - box.y1) <= reach;
  const name = `${north ? "n" : south ? "s" : ""}${west ? "w" : east ? "e" : ""}`;
  return (name || "inside") as Grip;
}

export function dragged(box: View, grip: Grip, dx: number, dy: number): View {
  if (grip === "inside") return { x0: box.x0 + dx, x1: box.x1 + dx, y0: box.y0 + dy, y1: box.y1 + dy };
  return {
    x0: grip.includes("w") ? box.x0 + dx : box.x0,
    x1: grip.includes("e") ? box.x1 + dx : box.x1,
    y0: grip.includes("n") ? box.y0 + dy : box.y0,
    y1: grip.includes("s") ? box.y1 + dy : box.y1,
  };
}

export const roiLabel = (roi: Roi) => (roi.name ? `${roi.roi_id} ${roi.name}` : `ROI ${roi.roi_id}`);
