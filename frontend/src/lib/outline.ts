/** The edge of a mask. */

import type { Npy } from "./npy";

// A larger one is drawn of every n-th sample.
const MOST = 4096;

/** Which pixels of a picture are inside (1) and at the edge (2), and where they are. */
export function outline(mask: Npy, turned: boolean) {
  const [rows = 0, columns = 0] = mask.shape;
  const [width, height] = turned ? [rows, columns] : [columns, rows];
  const across = Math.max(1, Math.ceil(width / MOST));
  const down = Math.max(1, Math.ceil(height / MOST));
  const [w, h] = [Math.ceil(width / across), Math.ceil(height / down)];
  const inside = new Uint8Array(w * h);
  const box = { x0: Infinity, x1: -Infinity, y0: Infinity, y1: -Infinity };
  for (let j = 0; j < h; j++) {
    for (let i = 0; i < w; i++) {
      const [x, y] = [i * across, j * down];
      if (!mask.at(turned ? x * columns + y : y * columns + x)) continue;
      inside[j * w + i] = 1;
      box.x0 = Math.min(box.x0, x);
      box.x1 = Math.max(box.x1, Math.min(x + across, width));
      box.y0 = Math.min(box.y0, y);
      box.y1 = Math.max(box.y1, Math.min(y + down, height));
    }
  }
  const edge = inside.slice();
  const is = (i: number, j: number) => i >= 0 && j >= 0 && i < w && j < h && inside[j * w + i] === 1;
  for (let j = 0; j < h; j++) {
    for (let i = 0; i < w; i++) {
      if (is(i, j) && !(is(i - 1, j) && is(i + 1, j) && is(i, j - 1) && is(i, j + 1))) edge[j * w + i] = 2;
    }
  }
  return { width: w, height: h, across, down, marks: edge, box: box.x1 > box.x0 ? box : null };
}
