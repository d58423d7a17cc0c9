/** Events of a data frame: which columns tell their time and their type. */

import type { EventRow, EventsData, ImageInfo } from "../../api/types";
import { placeOf } from "../../lib/axis";
import type { PlacedEvent } from "../stage";

const STARTS = ["t_start_s", "t_start", "start_s", "time_s", "t_peak_s", "t_peak"];
const ENDS = ["t_end_s", "t_end", "stop_s", "end_s"];

export const startColumn = (columns: readonly string[]) => STARTS.find((name) => columns.includes(name)) ?? null;
export const endColumn = (columns: readonly string[]) => ENDS.find((name) => columns.includes(name)) ?? null;

/** Whether seconds can be placed along the image. */
export const hasSeconds = (info: ImageInfo) =>
  info.plane.kymograph && info.plane.horizontal.name === "time" && info.plane.horizontal.unit === "s" && info.plane.horizontal.calibrated;

const finite = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** What colours go by: what the program found, for what a person says of it changes. */
export function typeOf(row: EventRow, columns: readonly string[]): string {
  for (const name of ["event_type", "machine_type", "type", "user_type"]) {
    if (columns.includes(name) && row[name] !== null && row[name] !== undefined && row[name] !== "") return String(row[name]);
  }
  return "event";
}

/** Events in the order of time. */
export function placed(data: EventsData, info: ImageInfo): PlacedEvent[] {
  const [first, last] = [startColumn(data.columns), endColumn(data.columns)];
  const seconds = hasSeconds(info);
  const { horizontal } = info.plane;
  return data.rows
    .map((row) => {
      const start = first ? finite(row[first]) : null;
      const stop = last ? finite(row[last]) : null;
      const end = start !== null && stop !== null && stop > start ? stop : null;
      return {
        data: row, type: typeOf(row, data.columns), start, end,
        x0: seconds && start !== null ? placeOf(horizontal, start) : null,
        x1: seconds && end !== null ? placeOf(horizontal, end) : null,
      };
    })
    .sort((a, b) => (a.start ?? Infinity) - (b.start ?? Infinity) || a.data.row - b.data.row);
}
