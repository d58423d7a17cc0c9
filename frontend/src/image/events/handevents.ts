/** Events by hand: added, moved, resized, removed, and named, each as one change. */

import type { Change } from "../../api/types";
import { valueOf } from "../../lib/axis";
import type { Curator } from "../../side/curator";
import { hasSeconds } from "./events";
import type { Stage } from "../stage";

export interface HandEvents {
  add(x0: number, x1: number): void;
  move(row: number, x0: number, x1: number): void;
  set(row: number, cells: Record<string, unknown>): void;
  remove(row: number): void;
  name(row: number, type: string | null): void;
}

const rounded = (seconds: number, step: number) => Number(seconds.toFixed(Math.max(0, Math.min(9, Math.ceil(1 - Math.log10(step))))));

/** null: nothing can be changed here. */
export function handEvents(
  stage: Stage, curator: Curator | null, source: { kind: string; name: string } | null, columns: readonly string[],
): HandEvents | null {
  if (!curator || !hasSeconds(stage.info.peek())) return null;
  const from = { artifact_kind: source?.kind ?? "parquet", name: source?.name ?? "events" };
  const { horizontal } = stage.info.peek().plane;
  const { step, size } = horizontal;
  const apply = (change: Change, what: string) => curator.apply([change], what);
  const times = (x0: number, x1: number) => {
    const [a, b] = [Math.max(0, Math.min(x0, x1)), Math.min(size, Math.max(x0, x1))];
    return { t_start_s: rounded(valueOf(horizontal, a), step), t_end_s: rounded(valueOf(horizontal, b), step) };
  };
  return {
    add(x0, x1) {
      const first = columns.includes("roi_id") ? stage.info.peek().rois[0]?.roi_id : undefined;
      const roi = stage.roi.peek() ?? first;
      const cells = { ...times(x0, x1), ...(roi === undefined ? {} : { roi_id: roi }) };
      const row = stage.events.peek().length;
      void apply({ kind: "add_event", ...from, cells }, "a new event").then((done) => done && (stage.event.value = row));
    },
    move: (row, x0, x1) => void apply({ kind: "change_event", ...from, event: row, cells: times(x0, x1) }, `event ${row + 1} moved`),
    set: (row, cells) => void apply({ kind: "change_event", ...from, event: row, cells }, `event ${row + 1} changed`),
    remove(row) {
      void apply({ kind: "remove_event", ...from, event: row }, `event ${row + 1} removed`).then((done) => done && (stage.event.value = null));
    },
    name: (row, type) => void apply({ kind: "event_type", ...from, row, value: type }, `event ${row + 1} is ${type ?? "of no type"}`),
  };
}
