/** Drawing of the image itself, its axes and scale bars. Pixels of the canvas, not of the page. */

import type { DrawnAxis } from "../../api/types";
import { placeOf, valueOf } from "../../lib/axis";
import { barLength, tickLabel, ticks } from "../../lib/ticks";
import { levelFor, offeredLevel, tilesFor, type Plane, type Tile } from "../../lib/tiles";
import type { View } from "../../lib/view";
import { toX, toY, type Area } from "./geometry";
import type { Layer } from "../stage";
import type { Colors, TileCache } from "./tilecache";

/** Draw all tiles there are, several layers as the sum of their colours; true once none is missing. */
export function drawTiles(
  context: CanvasRenderingContext2D, cache: TileCache, view: View, area: Area, plane: Plane, layers: Layer[], ratio: number,
): boolean {
  const level = offeredLevel(levelFor(view, area.width * ratio, area.height * ratio, plane), plane.levels, view, plane);
  const wanted = tilesFor(view, level, plane);
  cache.want(wanted, layers.map((layer) => layer.at));
  let whole = true;
  context.save();
  context.beginPath();
  context.rect(area.left, area.top, area.width, area.height);
  context.clip();
  if (layers.length > 1) {
    const [left, right] = [toX(view, area, 0), toX(view, area, plane.width)];
    const [top, bottom] = [toY(view, area, 0), toY(view, area, plane.height)];
    context.fillStyle = "#000";
    context.fillRect(left, top, right - left, bottom - top);
    context.globalCompositeOperation = "lighter";
  }
  for (const { at, colors } of layers) {
    const there = wanted.every((tile) => cache.has(tile, at));
    whole &&= there;
    // Coarser tiles would be added to finer ones.
    if (!there && layers.length === 1) {
      for (const tile of cache.of(at)) {
        const near = tile.across * 8 >= level.across && tile.down * 8 >= level.down;
        if (near && meets(tile, view)) drawTile(context, cache, tile, view, area, at, colors, ratio);
      }
    }
    for (const tile of wanted) drawTile(context, cache, tile, view, area, at, colors, ratio);
  }
  context.restore();
  cache.trim();
  return whole;
}

const meets = (t: Tile, v: View) => t.x0 < v.x1 && t.x1 > v.x0 && t.y0 < v.y1 && t.y1 > v.y0;

function drawTile(
  context: CanvasRenderingContext2D, cache: TileCache, tile: Tile, view: View, area: Area, at: string,
  colors: Colors, ratio: number,
): void {
  const picture = cache.picture(tile, at, colors);
  if (!picture) return;
  // Only the part that is seen: a browser does not like pictures of a million pixels.
  const i0 = Math.max(0, Math.floor((view.x0 - tile.x0) / tile.across));
  const i1 = Math.min(picture.width, Math.ceil((view.x1 - tile.x0) / tile.across));
  const j0 = Math.max(0, Math.floor((view.y0 - tile.y0) / tile.down));
  const j1 = Math.min(picture.height, Math.ceil((view.y1 - tile.y0) / tile.down));
  if (i1 <= i0 || j1 <= j0) return;
  // A block at the end may have fewer samples.
  const x = (i: number) => Math.min(tile.x0 + i * tile.across, tile.x1);
  const y = (j: number) => Math.min(tile.y0 + j * tile.down, tile.y1);
  const snap = (value: number) => Math.round(value * ratio) / ratio;
  const [left, right] = [snap(toX(view, area, x(i0))), snap(toX(view, area, x(i1)))];
  const [top, bottom] = [snap(toY(view, area, y(j0))), snap(toY(view, area, y(j1)))];
  const smaller = (right - left) * ratio < i1 - i0 || (bottom - top) * ratio < j1 - j0;
  context.imageSmoothingEnabled = smaller;
  context.imageSmoothingQuality = "medium";
  context.drawImage(picture, i0, j0, i1 - i0, j1 - j0, left, top, right - left, bottom - top);
}

export interface Ink {
  text: string;
  line: string;
}

const FONT = "11px system-ui, sans-serif";

export function drawAxes(
  context: CanvasRenderingContext2D, view: View, area: Area, horizontal: DrawnAxis, vertical: DrawnAxis, ink: Ink,
  withLabel: boolean,
): void {
  context.save();
  context.font = FONT;
  context.fillStyle = ink.text;
  context.strokeStyle = ink.line;
  context.lineWidth = 1;
  context.strokeRect(area.left - 0.5, area.top - 0.5, area.width + 1, area.height + 1);
  const along = ticks(valueOf(horizontal, view.x0), valueOf(horizontal, view.x1), Math.max(2, area.width / 90));
  context.textAlign = "center";
  context.textBaseline = "top";
  context.beginPath();
  const [below, beside] = [area.top + area.height, area.left];
  let before = -Infinity;
  for (const value of along.values) {
    const x = Math.round(toX(view, area, placeOf(horizontal, value))) + 0.5;
    // Where nothing was recorded for long, many values are at one place.
    if (x - before < 28) continue;
    before = x;
    context.moveTo(x, below);
    context.lineTo(x, below + 5);
    context.fillText(tickLabel(value, along.step), x, below + 7);
  }
  const down = ticks(valueOf(vertical, view.y0), valueOf(vertical, view.y1), Math.max(2, area.height / 42));
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of down.values) {
    const y = Math.round(toY(view, area, placeOf(vertical, value))) + 0.5;
    context.moveTo(beside - 5, y);
    context.lineTo(beside, y);
    context.fillText(tickLabel(value, down.step), beside - 8, y);
  }
  context.stroke();
  if (withLabel) {
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(horizontal.label, area.left + area.width / 2, below + 38);
  }
  context.translate(12, area.top + area.height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(vertical.label, 0, 0);
  context.restore();
}

/** A bar along each axis that has a unit; one is enough where both have the same scale. */
export function drawScaleBars(
  context: CanvasRenderingContext2D, view: View, area: Area, horizontal: DrawnAxis, vertical: DrawnAxis, equal: boolean,
): void {
  context.save();
  context.font = `600 ${FONT}`;
  const right = Math.min(area.left + area.width, toX(view, area, horizontal.size)) - 14;
  const bottom = Math.min(area.top + area.height, toY(view, area, vertical.size)) - 14;
  const bar = (width: number, height: number, x: number, y: number) => {
    context.fillStyle = "rgba(0,0,0,.65)";
    context.fillRect(x - 1.5, y - 1.5, width + 3, height + 3);
    context.fillStyle = "#fff";
    context.fillRect(x, y, width, height);
  };
  const words = (text: string, x: number, y: number) => {
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0,0,0,.75)";
    context.lineJoin = "round";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  };
  if (horizontal.calibrated && !horizontal.knots) {
    const long = barLength((view.x1 - view.x0) * horizontal.step);
    const width = (long / horizontal.step / (view.x1 - view.x0)) * area.width;
    bar(width, 3, right - width, bottom);
    context.textAlign = "center";
    context.textBaseline = "bottom";
    words(`${Number(long.toPrecision(3))} ${horizontal.unit}`, right - width / 2, bottom - 4);
  }
  if (!equal && vertical.calibrated && area.height > 90) {
    const long = barLength((view.y1 - view.y0) * vertical.step);
    const height = (long / vertical.step / (view.y1 - view.y0)) * area.height;
    const x = area.left + 12;
    bar(3, height, x, bottom - height + 3);
    context.textAlign = "left";
    context.textBaseline = "middle";
    words(`${Number(long.toPrecision(3))} ${vertical.unit}`, x + 8, bottom - height / 2 + 3);
  }
  context.restore();
}
