/** What a card says of an image. */

import type { ImageRow } from "../api/types";
import { number, shape, when } from "../lib/format";

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : null);

/** Title and what stands before it: the file's name and its folders, or else the id. */
export function title(row: ImageRow): { name: string; folder: string } {
  const path = text(row.rel_path);
  if (!path) return { name: text(row.image_name) ?? row.image_id, folder: "" };
  const cut = path.lastIndexOf("/");
  return { name: path.slice(cut + 1), folder: cut > 0 ? path.slice(0, cut) : "" };
}

/** How long it is where a line takes so and so much. */
export function seconds(row: ImageRow): number | null {
  const period = row.line_period_s;
  const lines = row.shape?.[row.shape.length - 2];
  return typeof period === "number" && typeof lines === "number" && period > 0 ? period * lines : null;
}

export function facts(row: ImageRow): string[] {
  const found: (string | null)[] = [shape(row.shape)];
  const long = seconds(row);
  if (long !== null) found.push(`${number(long, 3)} s`);
  if (typeof row.n_rois === "number" && row.n_rois > 0) found.push(`${row.n_rois} ROI${row.n_rois === 1 ? "" : "s"}`);
  return found.filter((one): one is string => Boolean(one));
}

export const acquired = (row: ImageRow) => when(row.acquired ?? "") || null;

export const condition = (row: ImageRow) => text(row.condition);

export const noteOf = (row: ImageRow) => text(row.curation_note);
