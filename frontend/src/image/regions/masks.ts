/** Masks as pictures: what is inside is tinted, and its edge is drawn. */

import { effect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { getArray } from "../../api/client";
import type { Roi } from "../../api/types";
import { parseNpy, type Npy } from "../../lib/npy";
import { outline } from "../../lib/outline";
import { onImage } from "../../lib/theme";
import type { View } from "../../lib/view";
import { toX, toY, type Area } from "../pixels/geometry";
import type { Stage } from "../stage";

// A mask comes whole; of a larger plane they are in the list only.
const MOST_SAMPLES = 2 ** 26;

export interface Mask {
  picture: HTMLCanvasElement;
  /** Samples as drawn of a pixel of the picture. */
  across: number;
  down: number;
  /** Where it is, as drawn. */
  box: View;
}

function pictureOf(mask: Npy, turned: boolean, color: string): Mask | null {
  const found = outline(mask, turned);
  if (!found.box) return null;
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [found.width, found.height];
  const context = picture.getContext("2d")!;
  const image = context.createImageData(found.width, found.height);
  const value = parseInt(color.slice(1), 16);
  found.marks.forEach((mark, i) => {
    image.data.set([value >> 16, (value >> 8) & 255, value & 255, mark === 2 ? 255 : mark ? 50 : 0], i * 4);
  });
  context.putImageData(image, 0, 0);
  return { picture, across: found.across, down: found.down, box: found.box };
}

export function drawMask(context: CanvasRenderingContext2D, mask: Mask, view: View, area: Area): void {
  const { picture, across, down } = mask;
  const i0 = Math.max(0, Math.floor(view.x0 / across));
  const i1 = Math.min(picture.width, Math.ceil(view.x1 / across));
  const j0 = Math.max(0, Math.floor(view.y0 / down));
  const j1 = Math.min(picture.height, Math.ceil(view.y1 / down));
  if (i1 <= i0 || j1 <= j0) return;
  const [left, right] = [toX(view, area, i0 * across), toX(view, area, i1 * across)];
  const [top, bottom] = [toY(view, area, j0 * down), toY(view, area, j1 * down)];
  context.imageSmoothingEnabled = right - left < i1 - i0 || bottom - top < j1 - j0;
  context.drawImage(picture, i0, j0, i1 - i0, j1 - j0, left, top, right - left, bottom - top);
}

/** See that the masks of an image come; one that cannot be read is in the list of regions all the same. */
export function useMasks(stage: Stage): void {
  useEffect(() => {
    const abort = new AbortController();
    const asked = new Set<string>();
    const stop = effect(() => {
      const info = stage.info.value;
      const { horizontal, vertical } = info.plane;
      if (horizontal.size * vertical.size > MOST_SAMPLES) return;
      info.rois.forEach((roi: Roi, index) => {
        const name = roi.data?.mask_ref;
        const key = `${roi.roi_id} ${name}`;
        if (!name || asked.has(key)) return;
        asked.add(key);
        getArray(info.image_id, name, abort.signal)
          .then((data) => {
            const array = data && parseNpy(data);
            if (!array || array.shape.length !== 2 || abort.signal.aborted) return;
            const mask = pictureOf(array, info.plane.turned, onImage(index));
            if (mask) stage.masks.value = new Map(stage.masks.peek()).set(roi.roi_id, mask);
          })
          .catch(() => undefined);
      });
    });
    return () => {
      stop();
      abort.abort();
    };
  }, [stage]);
}
