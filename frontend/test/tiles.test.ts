import { describe, expect, it } from "vitest";
import { indexIn, levelFor, stepFor, TILE, tilesFor, windowOf, type Plane } from "../src/lib/tiles";

const kymograph: Plane = { width: 30000, height: 40, turned: true };

describe("steps", () => {
  it("are powers of two that are not above a pixel", () => {
    expect([0.1, 1, 1.9, 2, 3.9, 31.9, 33].map((n) => stepFor(n, 1e6))).toEqual([1, 1, 1, 2, 2, 16, 32]);
  });
  it("are of each axis its own", () => {
    expect(levelFor({ x0: 0, x1: 30000, y0: 0, y1: 40 }, 900, 300, kymograph)).toEqual({ across: 32, down: 1 });
  });
});

describe("tiles", () => {
  it("cover what is seen, once, and nothing outside the image", () => {
    const view = { x0: -50, x1: 20000, y0: -3, y1: 60 };
    const tiles = tilesFor(view, { across: 4, down: 1 }, kymograph);
    const covered = new Set<number>();
    for (const tile of tiles) {
      expect(tile.x0 % (TILE * 4)).toBe(0);
      expect(tile.x1).toBeLessThanOrEqual(30000);
      expect([tile.y0, tile.y1]).toEqual([0, 40]);
      for (let x = tile.x0; x < tile.x1; x += 4) {
        expect(covered.has(x)).toBe(false);
        covered.add(x);
      }
    }
    for (let x = 0; x < 20000; x += 4) expect(covered.has(x)).toBe(true);
  });
  it("come from the middle outwards", () => {
    const tiles = tilesFor({ x0: 0, x1: 8192, y0: 0, y1: 40 }, { across: 1, down: 1 }, kymograph);
    const away = tiles.map((tile) => Math.abs((tile.x0 + tile.x1) / 2 - 4096));
    expect(away).toEqual([...away].sort((a, b) => a - b));
  });
  it("are none where nothing is seen", () => {
    expect(tilesFor({ x0: 40000, x1: 50000, y0: 0, y1: 40 }, { across: 1, down: 1 }, kymograph)).toEqual([]);
  });
  it("are asked for by rows and columns of the array", () => {
    const tile = { across: 4, down: 2, x0: 2048, x1: 4096, y0: 0, y1: 40 };
    expect(windowOf(tile, true)).toEqual({ rows: "2048:4096", columns: "0:40", step: "4,2" });
    expect(windowOf(tile, false)).toEqual({ rows: "0:40", columns: "2048:4096", step: "2,4" });
  });
});

describe("indexIn", () => {
  const tile = { across: 4, down: 1, x0: 2048, x1: 4096, y0: 0, y1: 40 };
  it("finds the number of a sample either way round", () => {
    expect(indexIn(tile, 2048 + 9, 3, 512, 40, true)).toBe(2 * 40 + 3);
    expect(indexIn(tile, 2048 + 9, 3, 40, 512, false)).toBe(3 * 512 + 2);
  });
  it("knows what is outside", () => {
    expect(indexIn(tile, 2047, 3, 512, 40, true)).toBe(-1);
    expect(indexIn(tile, 2050, 40, 512, 40, true)).toBe(-1);
  });
});
