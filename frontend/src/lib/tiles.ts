/** Which tiles of an image are wanted for what is seen. Rows and columns are those of the array. */

import type { View } from "./view";

export const TILE = 512;

export interface Plane {
  /** Samples along the axis from left to right, and along that from top to bottom. */
  width: number;
  height: number;
  /** Whether rows of the array run from left to right. */
  turned: boolean;
  /** The steps, along rows and columns of the array, that there are tiles of; all where left out. */
  levels?: [number, number][] | undefined;
}

export interface Level {
  /** Samples of the array for one of the tile, as drawn. */
  across: number;
  down: number;
}

export interface Tile extends Level {
  /** First and last sample as drawn, stops exclusive. */
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

/** The largest power of two that is not above; 1 at least. */
export function stepFor(samplesPerPixel: number, size: number): number {
  const most = 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, size / 1))));
  let step = 1;
  while (step * 2 <= samplesPerPixel * 1.001 && step * 2 <= most) step *= 2;
  return step;
}

export function levelFor(view: View, pixelsWide: number, pixelsTall: number, plane: Plane): Level {
  return {
    across: stepFor((view.x1 - view.x0) / Math.max(1, pixelsWide), plane.width),
    down: stepFor((view.y1 - view.y0) / Math.max(1, pixelsTall), plane.height),
  };
}

/** The coarsest level that loses nothing that is seen, of those that there are tiles of; of few enough tiles. */
export function offeredLevel(wanted: Level, offered: [number, number][] | undefined, view: View, plane: Plane): Level {
  if (!offered) return wanted;
  const levels = offered.map(([rows, columns]) => (plane.turned ? { across: rows, down: columns } : { across: columns, down: rows }));
  const sharp = levels.filter((level) => level.across <= wanted.across && level.down <= wanted.down).length;
  const from = Math.max(0, sharp - 1);
  return levels.slice(from).find((level) => tilesFor(view, level, plane).length <= MOST_TILES) ?? levels[levels.length - 1] ?? wanted;
}

const MOST_TILES = 48;

function spans(from: number, to: number, size: number, step: number): [number, number][] {
  const long = TILE * step;
  const first = Math.max(0, Math.floor(from / long));
  const found: [number, number][] = [];
  for (let i = first; i * long < Math.min(to, size); i++) found.push([i * long, Math.min((i + 1) * long, size)]);
  return found;
}

/** The tiles that cover a view, those in the middle first. */
export function tilesFor(view: View, level: Level, plane: Plane): Tile[] {
  const tiles: Tile[] = [];
  for (const [y0, y1] of spans(view.y0, view.y1, plane.height, level.down)) {
    for (const [x0, x1] of spans(view.x0, view.x1, plane.width, level.across)) {
      tiles.push({ ...level, x0, x1, y0, y1 });
    }
  }
  const [cx, cy] = [(view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2];
  const away = (t: Tile) =>
    Math.abs((t.x0 + t.x1) / 2 - cx) / (TILE * t.across) + Math.abs((t.y0 + t.y1) / 2 - cy) / (TILE * t.down);
  return tiles.sort((a, b) => away(a) - away(b));
}

export const tileKey = (t: Tile) => `${t.across}/${t.down}/${t.x0}/${t.y0}`;

/** What the server is asked for: rows, columns and steps of the array. */
export function windowOf(t: Tile, turned: boolean): { rows: string; columns: string; step: string } {
  const [x, y] = [`${t.x0}:${t.x1}`, `${t.y0}:${t.y1}`];
  return turned
    ? { rows: x, columns: y, step: `${t.across},${t.down}` }
    : { rows: y, columns: x, step: `${t.down},${t.across}` };
}

/** Where in the numbers of a tile a sample is; -1 outside. */
export function indexIn(t: Tile, x: number, y: number, rows: number, columns: number, turned: boolean): number {
  if (x < t.x0 || x >= t.x1 || y < t.y0 || y >= t.y1) return -1;
  const [i, j] = [Math.floor((x - t.x0) / t.across), Math.floor((y - t.y0) / t.down)];
  const [r, c] = turned ? [i, j] : [j, i];
  return r < rows && c < columns ? r * columns + c : -1;
}
