/** Positions along an axis, in samples from its first edge, and the values there. */
import type { DrawnAxis } from "../api/types";

/** Where x lies among rising numbers: the value at the same place of others, and beyond the ends by a slope. */
function between(x: number, from: number[], to: number[], slope: number): number {
  const last = from.length - 1;
  if (x <= from[0]!) return to[0]! + (x - from[0]!) * slope;
  if (x >= from[last]!) return to[last]! + (x - from[last]!) * slope;
  let [low, high] = [0, last];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle]! <= x) low = middle;
    else high = middle;
  }
  return to[low]! + ((x - from[low]!) / (from[high]! - from[low]!)) * (to[high]! - to[low]!);
}

/** The value, in the unit of the axis, at a position. */
export function valueOf(axis: DrawnAxis, position: number): number {
  return axis.knots ? between(position, axis.knots.positions, axis.knots.values, axis.step) : position * axis.step;
}

/** The position of a value. */
export function placeOf(axis: DrawnAxis, value: number): number {
  return axis.knots ? between(value, axis.knots.values, axis.knots.positions, 1 / axis.step) : value / axis.step;
}
