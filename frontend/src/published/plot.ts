/** Histograms and scatter plots of a table, computed in the page. */

import { ApiError } from "../api/error";
import type { PlotData } from "../api/types";
import { columnAt, mask, numberOf, type Listed } from "./rows";

const BINS = 40;
const MOST_POINTS = 5000;
const MOST_GROUPS = 12;

function numbersOf(listed: Listed, name: string): number[] {
  const at = columnAt(listed, name);
  const { kind } = listed.columns[at]!;
  if (kind !== "number" && kind !== "time") throw new ApiError(400, "ArgumentError", `the column '${name}' holds no numbers`, name, null);
  return listed.rows.map((row) => numberOf(row[at], kind));
}

/** Edges of bins that enclose all values; each integer has a bin of its own where they are few. */
export function edgesOf(values: number[]): number[] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (!values.length) [low, high] = [0, 1];
  if (values.length && high - low < BINS && values.every(Number.isInteger)) {
    return Array.from({ length: high - low + 2 }, (_, i) => low - 0.5 + i);
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  return Array.from({ length: BINS + 1 }, (_, i) => (i === BINS ? high : low + ((high - low) * i) / BINS));
}

function countsIn(values: number[], edges: number[]): number[] {
  const counts = new Array<number>(edges.length - 1).fill(0);
  const [low, high] = [edges[0]!, edges[edges.length - 1]!];
  for (const value of values) {
    const bin = Math.min(counts.length - 1, Math.floor(((value - low) / (high - low)) * counts.length));
    counts[Math.max(0, bin)]! += 1;
  }
  return counts;
}

/** The label of each row: a column of the table, or one of the image that it names. */
function labelsOf(listed: Listed, images: Listed, by: string): string[] {
  const text = (value: unknown) => (value === null || value === undefined ? "" : String(value));
  const ids = listed.columns.findIndex((column) => column.name === "image_id");
  if (listed.columns.some((column) => column.name === by) || ids < 0) {
    const at = columnAt(listed, by);
    return listed.rows.map((row) => text(row[at]));
  }
  const [id, at] = [columnAt(images, "image_id"), columnAt(images, by)];
  const known = new Map(images.rows.map((row) => [row[id], text(row[at])]));
  return listed.rows.map((row) => known.get(row[ids]) ?? "");
}

export function plot(listed: Listed, images: Listed, query: URLSearchParams): PlotData {
  const [x, y, by] = ["x", "y", "by"].map((name) => query.get(name) ?? "") as [string, string, string];
  const across = numbersOf(listed, x);
  const down = y ? numbersOf(listed, y) : null;
  let taken = mask(listed, query).flatMap((there, i) => (there && Number.isFinite(across[i]) && (!down || Number.isFinite(down[i])) ? [i] : []));
  const total = taken.length;
  const labels = by ? labelsOf(listed, images, by) : null;
  const counted = new Map<string, number>();
  if (labels) for (const i of taken) counted.set(labels[i]!, (counted.get(labels[i]!) ?? 0) + 1);
  const frequent = [...counted].sort((a, b) => b[1] - a[1]).slice(0, MOST_GROUPS).map(([name]) => name).sort();
  const names = labels ? (counted.size > MOST_GROUPS ? [...frequent, "others"] : frequent) : [""];
  const groupOf = (i: number) => (labels ? (frequent.includes(labels[i]!) ? labels[i]! : "others") : "");
  const edges = down ? null : edgesOf(taken.map((i) => across[i]!));
  const sampled = down !== null && total > MOST_POINTS;
  if (sampled) {
    // By a fixed sequence of random numbers, since every n-th row may be of one kind.
    let state = 1;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    taken = taken.map((i) => [random(), i] as const).sort((a, b) => a[0] - b[0]).slice(0, MOST_POINTS).map(([, i]) => i).sort((a, b) => a - b);
  }
  const groups = names.map((label) => {
    const mine = taken.filter((i) => groupOf(i) === label);
    if (edges) return { label, edges, counts: countsIn(mine.map((i) => across[i]!), edges) };
    return { label, x: mine.map((i) => across[i]!), y: mine.map((i) => down![i]!) };
  });
  return { kind: down ? "scatter" : "histogram", x, y: y || null, groups, total, sampled };
}
