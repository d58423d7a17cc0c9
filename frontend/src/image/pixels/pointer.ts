/** Mouse, pen and keys on the image: move, zoom, point at, draw. */

import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";
import type { Along, View } from "../../lib/view";
import { areaOf, fromX, fromY } from "./geometry";
import type { HandEvents } from "../events/handevents";
import { boxPixels } from "./overlay";
import { boxOfRoi, dragged, gripAt, wholeBox, type Grip } from "../regions/rois";
import type { Draft, Stage } from "../stage";

const CURSORS: Record<Grip, string> = {
  n: "ns-resize", s: "ns-resize", w: "ew-resize", e: "ew-resize",
  nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize", inside: "move",
};

/** The other axis, for a wheel with Shift. */
export const otherAxis = (along: Along): Along => (along === "x" ? "y" : "x");

export const wheelFactor = (event: WheelEvent) => {
  const lines = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1;
  const delta = (event.deltaY || event.deltaX) * lines;
  return Math.exp(-Math.max(-300, Math.min(300, delta)) * 0.0022);
};

export function usePointer(
  ref: RefObject<HTMLCanvasElement>, stage: Stage, editable: boolean, labelled: boolean, hand: () => HandEvents | null,
): void {
  useEffect(() => {
    const canvas = ref.current!;
    let press: { x: number; y: number; moved: boolean; view: View; grip: Grip | null; draft: Draft | null } | null = null;

    let strip: { x: number; moved: boolean; row: number | null; x0: number; x1: number; edge: "new" | "start" | "end" | "all" } | null = null;

    const place = (event: MouseEvent) => {
      const rect = canvas.getBoundingClientRect();
      const area = areaOf(rect.width, rect.height, labelled);
      const [px, py] = [event.clientX - rect.left, event.clientY - rect.top];
      const view = stage.view.peek();
      return { px, py, area, view, x: fromX(view, area, px), y: fromY(view, area, py) };
    };

    const down = (event: PointerEvent) => {
      if (event.button !== 0) return;
      const at = place(event);
      canvas.setPointerCapture(event.pointerId);
      if (at.py < at.area.top && hand()) {
        // In the strip above the image: the chosen event, by an edge or all of it, or else a new one.
        const reach = ((at.view.x1 - at.view.x0) / at.area.width) * 6;
        const chosen = stage.events.peek().find((one) => one.data.row === stage.event.peek() && one.x0 !== null);
        const [x0, x1] = chosen ? [chosen.x0!, chosen.x1 ?? chosen.x0!] : [at.x, at.x];
        const on = chosen !== undefined && at.x > x0 - reach && at.x < x1 + reach;
        const edge = !on ? "new" : Math.abs(at.x - x1) < reach ? "end" : Math.abs(at.x - x0) < reach ? "start" : "all";
        strip = { x: at.x, moved: false, row: on ? chosen.data.row : null, x0, x1, edge };
        return;
      }
      const draft = stage.draft.peek();
      const grip = draft && editable ? gripAt(boxPixels(draft, at.view, at.area), at.px, at.py) : null;
      press = { x: at.x, y: at.y, moved: false, view: at.view, grip, draft: grip ? draft : null };
    };

    const move = (event: PointerEvent) => {
      const at = place(event);
      const { width, height } = stage.plane.peek();
      const within = at.x >= 0 && at.x < width && at.y >= 0 && at.y < height
        && at.px >= at.area.left && at.px <= at.area.left + at.area.width
        && at.py >= at.area.top && at.py <= at.area.top + at.area.height;
      stage.hover.value = within ? { x: at.x, y: at.y } : null;
      if (strip) {
        const { x, row, edge } = strip;
        const by = at.x - x;
        if (Math.abs(by) > ((at.view.x1 - at.view.x0) / at.area.width) * 3) strip.moved = true;
        if (!strip.moved) return;
        const [x0, x1] = edge === "new" ? [x, at.x] : [strip.x0 + (edge === "end" ? 0 : by), strip.x1 + (edge === "start" ? 0 : by)];
        stage.eventDraft.value = { row, x0, x1 };
        return;
      }
      if (!press) {
        const draft = stage.draft.peek();
        const grip = draft && editable ? gripAt(boxPixels(draft, at.view, at.area), at.px, at.py) : null;
        canvas.style.cursor = grip ? CURSORS[grip] : "";
        return;
      }
      const [dx, dy] = [at.x - press.x, at.y - press.y];
      const perPixel = (at.view.x1 - at.view.x0) / at.area.width;
      const perPixelY = (at.view.y1 - at.view.y0) / at.area.height;
      if (Math.hypot(dx / perPixel, dy / perPixelY) > 3) press.moved = true;
      if (!press.moved) return;
      if (press.draft && press.grip) {
        stage.draft.value = { ...press.draft, ...dragged(press.draft, press.grip, dx, dy) };
      } else if (stage.drawing.peek()) {
        const box = wholeBox({ x0: press.x, x1: at.x, y0: press.y, y1: at.y }, stage.plane.peek());
        stage.draft.value = { roi: null, name: "", note: "", ...stage.draft.peek(), ...box };
      } else {
        // What was under the mouse stays there.
        stage.pan(-dx, -dy);
      }
    };

    const up = (event: PointerEvent) => {
      if (strip) {
        const { moved, row } = strip;
        const drawn = stage.eventDraft.peek();
        strip = null;
        stage.eventDraft.value = null;
        if (!moved || !drawn) click(event);
        else if (row === null) hand()?.add(drawn.x0, drawn.x1);
        else hand()?.move(row, drawn.x0, drawn.x1);
        return;
      }
      const was = press;
      press = null;
      if (!was) return;
      const draft = stage.draft.peek();
      if (was.moved && draft && (was.grip || stage.drawing.peek())) {
        stage.draft.value = { ...draft, ...wholeBox(draft, stage.plane.peek()) };
        stage.drawing.value = false;
        return;
      }
      if (!was.moved && !was.grip) click(event);
    };

    const click = (event: PointerEvent) => {
      const at = place(event);
      if (at.py < at.area.top) {
        const reach = ((at.view.x1 - at.view.x0) / at.area.width) * 5;
        const hit = stage.events.peek().find((one) => one.x0 !== null && at.x >= one.x0 - reach && at.x <= (one.x1 ?? one.x0) + reach);
        if (hit) stage.event.value = hit.data.row;
        return;
      }
      if (stage.draft.peek()) return;
      // The smallest of those under the mouse.
      const { turned } = stage.info.peek().plane;
      const hits = stage.info.peek().rois
        .filter((roi) => stage.shows(roi) && stage.showRois.peek())
        .map((roi) => ({ roi, box: stage.masks.peek().get(roi.roi_id)?.box ?? boxOfRoi(roi, turned) }))
        .filter(({ box }) => box && at.x >= box.x0 && at.x <= box.x1 && at.y >= box.y0 && at.y <= box.y1)
        .sort((a, b) => size(a.box!) - size(b.box!));
      stage.roi.value = hits[0]?.roi.roi_id ?? null;
    };
    const size = (box: View) => (box.x1 - box.x0) * (box.y1 - box.y0);

    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const at = place(event);
      const along = stage.along.peek();
      const { equal } = stage.frame.peek();
      const overY = at.px < at.area.left;
      const chosen: Along = equal ? "both" : overY ? "y" : event.shiftKey ? otherAxis(along) : along;
      stage.zoom(wheelFactor(event), at.x, at.y, chosen);
    };

    const key = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const { x0, x1, y0, y1 } = stage.view.peek();
      const [dx, dy] = [(x1 - x0) / 8, (y1 - y0) / 8];
      if (event.key === "ArrowLeft") stage.pan(-dx, 0);
      else if (event.key === "ArrowRight") stage.pan(dx, 0);
      else if (event.key === "ArrowUp") stage.pan(0, -dy);
      else if (event.key === "ArrowDown") stage.pan(0, dy);
      else return;
      event.preventDefault();
    };
    const leave = () => { if (!press) stage.hover.value = null; };
    const double = () => stage.fit();

    canvas.addEventListener("pointerdown", down);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("dblclick", double);
    canvas.addEventListener("wheel", wheel, { passive: false });
    canvas.addEventListener("keydown", key);
    return () => {
      canvas.removeEventListener("pointerdown", down);
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", up);
      canvas.removeEventListener("pointercancel", up);
      canvas.removeEventListener("pointerleave", leave);
      canvas.removeEventListener("dblclick", double);
      canvas.removeEventListener("wheel", wheel);
      canvas.removeEventListener("keydown", key);
    };
  }, [stage, editable, labelled]);
}
