/** Where the image is within its canvas; the chart below has the same left and right. */

import type { View } from "../../lib/view";

export const LEFT = 64;
export const RIGHT = 14;
export const TOP = 18;
const BOTTOM = 40;
const BOTTOM_BARE = 24;

export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

export const areaOf = (width: number, height: number, labelled: boolean): Area => ({
  left: LEFT, top: TOP, width: Math.max(1, width - LEFT - RIGHT), height: Math.max(1, height - TOP - (labelled ? BOTTOM : BOTTOM_BARE)),
});

export const toX = (view: View, area: Area, x: number) => area.left + ((x - view.x0) / (view.x1 - view.x0)) * area.width;
export const toY = (view: View, area: Area, y: number) => area.top + ((y - view.y0) / (view.y1 - view.y0)) * area.height;
export const fromX = (view: View, area: Area, px: number) => view.x0 + ((px - area.left) / area.width) * (view.x1 - view.x0);
export const fromY = (view: View, area: Area, py: number) => view.y0 + ((py - area.top) / area.height) * (view.y1 - view.y0);
