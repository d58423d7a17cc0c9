/** Drawing above the image: regions, events, what is being drawn, and the hair cross. */

import type { Roi } from "../../api/types";
import { eventColor, onImage } from "../../lib/theme";
import type { View } from "../../lib/view";
import { toX, toY, type Area } from "./geometry";
import { drawMask, type Mask } from "../regions/masks";
import { boxOfRoi, outlineOfRoi, roiLabel } from "../regions/rois";
import type { Draft, Hover, PlacedEvent } from "../stage";

export const boxPixels = (box: View, view: View, area: Area): View => ({
  x0: toX(view, area, box.x0), x1: toX(view, area, box.x1), y0: toY(view, area, box.y0), y1: toY(view, area, box.y1),
});

export interface Above {
  rois: { roi: Roi; index: number }[];
  selectedRoi: number | null;
  events: PlacedEvent[];
  types: string[];
  selectedEvent: number | null;
  draft: Draft | null;
  eventDraft: { x0: number; x1: number } | null;
  hover: Hover | null;
  masks: ReadonlyMap<number, Mask>;
  turned: boolean;
  accent: string;
}

export function drawAbove(context: CanvasRenderingContext2D, view: View, area: Area, above: Above): void {
  const right = area.left + area.width;
  context.save();
  context.beginPath();
  context.rect(area.left, 0, area.width, area.top + area.height);
  context.clip();
  for (const event of above.events) drawEvent(context, view, area, event, above);
  if (above.eventDraft) {
    const [x0, x1] = [toX(view, area, above.eventDraft.x0), toX(view, area, above.eventDraft.x1)];
    context.fillStyle = above.accent;
    context.fillRect(Math.min(x0, x1), 1, Math.abs(x1 - x0), area.top - 3);
    context.globalAlpha = 0.15;
    context.fillRect(Math.min(x0, x1), area.top, Math.abs(x1 - x0), area.height);
    context.globalAlpha = 1;
  }
  context.restore();
  context.save();
  context.beginPath();
  context.rect(area.left, area.top, area.width, area.height);
  context.clip();
  for (const { roi, index } of above.rois) {
    if (above.draft?.roi?.roi_id === roi.roi_id) continue;
    const chosen = roi.roi_id === above.selectedRoi;
    const mask = above.masks.get(roi.roi_id);
    if (mask) drawMask(context, mask, view, area);
    const box = mask ? mask.box : boxOfRoi(roi, above.turned);
    const outline = outlineOfRoi(roi, above.turned);
    if (outline) drawOutline(context, outline.map(([x, y]) => [toX(view, area, x), toY(view, area, y)]), roi, onImage(index), chosen);
    // Masks and outlines have an edge of their own; the box of a mask is drawn when it is selected.
    if (box) drawBox(context, boxPixels(box, view, area), onImage(index), roiLabel(roi), chosen, area, mask ? chosen : !outline);
  }
  if (above.draft) drawDraft(context, boxPixels(above.draft, view, area), above.accent);
  if (above.hover) {
    context.strokeStyle = "rgba(255,255,255,.85)";
    context.shadowColor = "#000";
    context.shadowBlur = 2;
    context.lineWidth = 1;
    context.beginPath();
    const x = Math.round(toX(view, area, above.hover.x)) + 0.5;
    context.moveTo(x, area.top);
    context.lineTo(x, area.top + area.height);
    if (above.hover.y !== null) {
      const y = Math.round(toY(view, area, above.hover.y)) + 0.5;
      context.moveTo(area.left, y);
      context.lineTo(right, y);
    }
    context.stroke();
  }
  context.restore();
}

function drawEvent(context: CanvasRenderingContext2D, view: View, area: Area, event: PlacedEvent, above: Above): void {
  if (event.x0 === null) return;
  const x0 = toX(view, area, event.x0);
  const x1 = toX(view, area, event.x1 ?? event.x0);
  if (x1 < area.left - 2 || x0 > area.left + area.width + 2) return;
  const chosen = event.data.row === above.selectedEvent;
  const index = above.types.indexOf(event.type);
  const bar = eventColor(index);
  const width = Math.max(chosen ? 5 : 3, x1 - x0);
  const left = x1 - x0 < width ? (x0 + x1 - width) / 2 : x0;
  // A bar in the strip above the image, and over the image only as much as leaves it to be seen.
  context.globalAlpha = 1;
  context.fillStyle = bar;
  context.fillRect(left, chosen ? 1 : 5, width, area.top - (chosen ? 3 : 7));
  context.fillStyle = eventColor(index, true);
  context.globalAlpha = chosen ? 0.13 : 0.08;
  if (x1 - x0 > 1.5) context.fillRect(x0, area.top, x1 - x0, area.height);
  context.globalAlpha = chosen ? 1 : 0.7;
  context.fillRect(Math.round(x0) - (chosen ? 1 : 0), area.top, chosen ? 2 : 1, area.height);
  if (x1 - x0 > 1.5) context.fillRect(Math.round(x1), area.top, chosen ? 2 : 1, area.height);
  context.globalAlpha = 1;
}

function drawOutline(context: CanvasRenderingContext2D, points: [number, number][], roi: Roi, color: string, chosen: boolean): void {
  const path = new Path2D();
  if (roi.roi_type === "points") {
    for (const [x, y] of points) {
      path.moveTo(x + 4, y);
      path.arc(x, y, 4, 0, 2 * Math.PI);
    }
  } else {
    points.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (roi.closed) path.closePath();
  }
  context.lineWidth = chosen ? 4 : 3;
  context.strokeStyle = "rgba(0,0,0,.5)";
  context.stroke(path);
  context.lineWidth = chosen ? 2.5 : 1.5;
  context.strokeStyle = color;
  context.stroke(path);
}

function drawBox(context: CanvasRenderingContext2D, box: View, color: string, label: string, chosen: boolean, area: Area, edges: boolean): void {
  // A region at the very edge of the image is drawn just within it.
  const x0 = Math.round(box.x0) + 1;
  const y0 = Math.round(box.y0) + 1;
  const [x1, y1] = [Math.round(box.x1) - 1, Math.round(box.y1) - 1];
  if (edges) {
    context.lineWidth = chosen ? 4 : 3;
    context.strokeStyle = "rgba(0,0,0,.5)";
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.lineWidth = chosen ? 2.5 : 1.5;
    context.strokeStyle = color;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.font = "600 11px system-ui, sans-serif";
  const width = context.measureText(label).width + 8;
  const left = Math.max(x0, area.left + 1);
  const top = Math.max(y0, area.top + 1);
  if (x1 < area.left || x0 > area.left + area.width || x1 - left < 12) return;
  context.fillStyle = color;
  context.fillRect(left, top, width, 16);
  context.fillStyle = "#111";
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillText(label, left + 4, top + 8.5);
}

function drawDraft(context: CanvasRenderingContext2D, box: View, accent: string): void {
  context.fillStyle = accent;
  context.globalAlpha = 0.15;
  context.fillRect(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  context.globalAlpha = 1;
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5;
  context.setLineDash([5, 4]);
  context.strokeRect(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0);
  context.setLineDash([]);
  for (const x of [box.x0, box.x1]) {
    for (const y of [box.y0, box.y1]) {
      context.fillStyle = "#000";
      context.fillRect(x - 5, y - 5, 10, 10);
      context.fillStyle = "#fff";
      context.fillRect(x - 4, y - 4, 8, 8);
    }
  }
}
