/** One image, whatever of it could be read. */

import { shownAt } from "../published/place";
import { getJson, imageUrl, postJson } from "./client";
import type { AnyImage, EditAnswer, ImageInfo } from "./types";

/** What cannot be read is missing from the answer; a list is empty then. */
export function whole(told: Partial<AnyImage> & { image_id: string }): AnyImage {
  return {
    name: told.image_id, revision: "", pixels: "", shape: [], dtype: "", axes: [], channel_names: null, plane: null, sliders: [], contrast: null, rois: [],
    metadata: null, provenance: null, source: null, source_files: null, created_utc: null, updated_utc: null, acquired: null,
    artifacts: [], results: [], tables: [], series: [], events: [], previous: null, next: null, position: null, n_listed: 0, ome_zarr: null, error: null,
    ...told,
    curation: { verdict: null, note: "", history: [], ...told.curation },
  };
}

/** The list that one came from, as the gallery's address has it: it says which image is next. */
const listed = () => {
  const list = new URLSearchParams(shownAt().search).get("in");
  return list ? `?${list}` : "";
};

export const getImage = async (id: string, signal?: AbortSignal) => whole(await getJson<AnyImage>(imageUrl(id) + listed(), signal));

export async function postChange(id: string, to: "edit" | "undo", body: unknown): Promise<AnyImage> {
  return whole((await postJson<EditAnswer>(imageUrl(id, to) + listed(), body)).image);
}

/** Whether there is a plane, and anything on it. */
export function canBeDrawn(info: AnyImage): info is ImageInfo {
  return info.plane !== null && info.plane.horizontal.size > 0 && info.plane.vertical.size > 0;
}
