/** Numbers of tiles, fetched once, and their colours, redrawn as the contrast changes. */

import { getBlock, imageUrl, isAbort, type Block } from "../../api/client";
import { colorize } from "../../lib/lut";
import { publishedList } from "../../published/place";
import { indexIn, tileKey, windowOf, type Tile } from "../../lib/tiles";

const MOST_BYTES = 192 * 2 ** 20;
// Of a published image, many come with one request.
const AT_ONCE = publishedList === null ? 4 : 32;

interface Kept {
  tile: Tile;
  plane: string;
  block: Block;
  picture: HTMLCanvasElement | null;
  /** What the picture was made with. */
  made: string;
  used: number;
}

export interface Colors {
  low: number;
  high: number;
  table: Uint32Array;
  name: string;
}

export class TileCache {
  #kept = new Map<string, Kept>();
  #asked = new Map<string, AbortController>();
  #wanted: { tile: Tile; plane: string; key: string }[] = [];
  #bytes = 0;
  #clock = 0;
  error: unknown = null;

  constructor(
    readonly imageId: string,
    readonly pixels: string,
    readonly turned: boolean,
    readonly onChange: () => void,
  ) {}

  dispose(): void {
    for (const abort of this.#asked.values()) abort.abort();
    this.#asked.clear();
    this.#kept.clear();
    this.#wanted = [];
  }

  /** See that these tiles come, in this order; give up what is no longer wanted. */
  want(tiles: Tile[], planes: string[]): void {
    this.#wanted = planes.flatMap((plane) => tiles.map((tile) => ({ tile, plane, key: `${plane}|${tileKey(tile)}` })));
    const keys = new Set(this.#wanted.map((one) => one.key));
    for (const [key, abort] of this.#asked) {
      if (!keys.has(key)) {
        abort.abort();
        this.#asked.delete(key);
      }
    }
    this.#next();
  }

  retry(): void {
    this.error = null;
    this.#next();
  }

  #next(): void {
    if (this.error) return;
    for (const { tile, plane, key } of this.#wanted) {
      if (this.#asked.size >= AT_ONCE) return;
      if (this.#kept.has(key) || this.#asked.has(key)) continue;
      const abort = new AbortController();
      this.#asked.set(key, abort);
      const { rows, columns, step } = windowOf(tile, this.turned);
      const address = imageUrl(this.imageId, "window", { at: plane, rows, columns, step, v: this.pixels });
      getBlock(address, abort.signal).then(
        (block) => {
          if (this.#asked.get(key) !== abort) return;
          this.#asked.delete(key);
          this.#kept.set(key, { tile, plane, block, picture: null, made: "", used: ++this.#clock });
          this.#bytes += block.data.byteLength;
          this.#next();
          this.onChange();
        },
        (error) => {
          if (this.#asked.get(key) === abort) this.#asked.delete(key);
          if (isAbort(error)) return;
          this.error = error;
          this.onChange();
        },
      );
    }
  }

  has(tile: Tile, plane: string): boolean {
    return this.#kept.has(`${plane}|${tileKey(tile)}`);
  }

  /** Tiles of a plane that are there, the coarsest first. */
  of(plane: string): Tile[] {
    const found: Tile[] = [];
    for (const kept of this.#kept.values()) if (kept.plane === plane) found.push(kept.tile);
    return found.sort((a, b) => b.across * b.down - a.across * a.down);
  }

  /** The picture of a tile in these colours; null until its numbers are there. */
  picture(tile: Tile, plane: string, colors: Colors): HTMLCanvasElement | null {
    const kept = this.#kept.get(`${plane}|${tileKey(tile)}`);
    if (!kept) return null;
    kept.used = ++this.#clock;
    const made = `${colors.name} ${colors.low} ${colors.high}`;
    if (kept.picture && kept.made === made) return kept.picture;
    const { rows, columns, data } = kept.block;
    const canvas = kept.picture ?? document.createElement("canvas");
    const [width, height] = this.turned ? [rows, columns] : [columns, rows];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d")!;
    const image = context.createImageData(width, height);
    colorize(data, rows, columns, this.turned, colors.low, colors.high, colors.table, new Uint32Array(image.data.buffer));
    context.putImageData(image, 0, 0);
    kept.picture = canvas;
    kept.made = made;
    return canvas;
  }

  /** The number at a sample as drawn, from the finest tile there is, and how many it is the mean of. */
  value(x: number, y: number, plane: string): { value: number; across: number; down: number } | null {
    let best: { value: number; across: number; down: number } | null = null;
    for (const { tile, plane: its, block } of this.#kept.values()) {
      if (its !== plane || (best && tile.across * tile.down >= best.across * best.down)) continue;
      const index = indexIn(tile, x, y, block.rows, block.columns, this.turned);
      if (index >= 0) best = { value: block.data[index]!, across: tile.across, down: tile.down };
    }
    return best;
  }

  /** Give up what was not used for longest. */
  trim(): void {
    if (this.#bytes <= MOST_BYTES) {
      if (this.#kept.size <= 160) return;
    }
    const oldest = [...this.#kept.entries()].sort((a, b) => a[1].used - b[1].used);
    const wanted = new Set(this.#wanted.map((one) => one.key));
    for (const [key, kept] of oldest) {
      if (this.#bytes <= MOST_BYTES * 0.75 && this.#kept.size <= 120) return;
      if (wanted.has(key)) continue;
      this.#kept.delete(key);
      this.#bytes -= kept.block.data.byteLength;
    }
  }
}
