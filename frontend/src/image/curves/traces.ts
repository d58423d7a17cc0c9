/** Curves over time: which there are, and what they are at a moment. */

import type { ImageInfo, SeriesData } from "../../api/types";
import { columnLabel } from "../../lib/format";
import { joinKey } from "../../lib/query";

export interface Trace {
  label: string;
  roi: number | null;
  /** Position of its region among those of the image, which gives it its colour. */
  color: number;
  time: number[];
  values: (number | null)[];
}

export interface Choice {
  key: string;
  kind: string;
  name: string;
  column: string;
  unit: string | null;
}

export function choices(info: ImageInfo): Choice[] {
  return info.series.flatMap((series) =>
    series.columns.map(({ name, unit }) => ({
      key: joinKey(series.kind, series.name, name), kind: series.kind, name: series.name, column: name, unit,
    })),
  );
}

/** What is asked for, or else a velocity, or else the first there is. */
export function chosen(all: Choice[], asked: string | null): Choice | null {
  if (asked === "none") return null;
  return (
    all.find((one) => one.key === asked) ?? all.find((one) => /^vel(ocity)?(_|$)/.test(one.column)) ??
    all.find((one) => /vel|speed|flow/.test(one.column)) ?? all[0] ?? null
  );
}

export function tracesOf(data: SeriesData, info: ImageInfo): Trace[] {
  const several = new Set(data.groups.map((group) => group.roi_id)).size < data.groups.length;
  return data.groups.map((group, i) => {
    const at = info.rois.findIndex((roi) => roi.roi_id === group.roi_id);
    const order = group.time.map((_, j) => j).filter((j) => group.time[j] !== null && group.time[j] !== undefined);
    if (order.some((j, k) => k > 0 && group.time[j]! < group.time[order[k - 1]!]!)) {
      order.sort((a, b) => group.time[a]! - group.time[b]!);
    }
    return {
      label: group.label === data.column ? columnLabel(data.column, data.unit).replace(/ \([^)]*\)$/, "") : several || group.roi_id === null ? group.label : `ROI ${group.roi_id}`, roi: group.roi_id, color: several || at < 0 ? i : at,
      time: order.map((j) => group.time[j]!), values: order.map((j) => group.values[j] ?? null),
    };
  });
}

/** The value nearest in time, unless that is far away; null where there is none. */
export function valueAt(trace: Trace, time: number): number | null {
  const { time: times, values } = trace;
  if (!times.length) return null;
  let [low, high] = [0, times.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle]! <= time) low = middle;
    else high = middle;
  }
  const nearest = Math.abs(times[low]! - time) <= Math.abs(times[high]! - time) ? low : high;
  const typical = times.length > 1 ? (times[times.length - 1]! - times[0]!) / (times.length - 1) : Infinity;
  return Math.abs(times[nearest]! - time) > typical * 2 ? null : values[nearest]!;
}
