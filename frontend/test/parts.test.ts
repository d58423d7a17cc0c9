import { describe, expect, it } from "vitest";
import type { HistoryEntry, ImageInfo, SeriesData } from "../src/api/types";
import { boxOf, inView, layoutFor, moved, totalHeight } from "../src/gallery/layout";
import { facts, title } from "../src/gallery/facts";
import { placed } from "../src/image/events/events";
import { boxOfRoi, dataOfBox, dragged, gripAt, wholeBox } from "../src/image/regions/rois";
import { tracesOf, valueAt } from "../src/image/curves/traces";
import { described, lastUndoable } from "../src/side/curator";
import { histogramSteps, scatterColumns } from "../src/tables/plotdata";

describe("gallery", () => {
  const layout = layoutFor(1318, false);
  it("has each card in view, and few others", () => {
    const [first, last] = inView(layout, 10_000, 40_000, 700);
    const seen = Array.from({ length: 10_000 }, (_, i) => i).filter((i) => {
      const box = boxOf(layout, i);
      return box.top + box.height > 40_000 && box.top < 40_700;
    });
    expect(first).toBeLessThanOrEqual(seen[0]!);
    expect(last).toBeGreaterThanOrEqual(seen[seen.length - 1]!);
    expect(last - first).toBeLessThan(50);
  });
  it("is as high as its last card", () => {
    const last = boxOf(layout, 9_998);
    expect(totalHeight(layout, 9_999)).toBe(last.top + last.height);
  });
  it("is empty when there is nothing", () => expect(inView(layout, 0, 0, 700)).toEqual([0, -1]));
  it("is walked by keys and never left", () => {
    expect(moved(layout, 12, 3, "ArrowDown", 600)).toBe(3 + layout.columns);
    expect(moved(layout, 12, 11, "ArrowRight", 600)).toBe(11);
    expect(moved(layout, 12, 0, "ArrowLeft", 600)).toBe(0);
    expect(moved(layout, 12, 5, "End", 600)).toBe(11);
    expect(moved(layout, 12, 5, "x", 600)).toBeNull();
  });
  it("tells a file by its name and its folder", () => {
    expect(title({ image_id: "1", rel_path: "Control/20250715/a.tif" })).toEqual({ name: "a.tif", folder: "Control/20250715" });
    expect(title({ image_id: "1" })).toEqual({ name: "1", folder: "" });
    expect(facts({ image_id: "1", shape: [2, 8000, 38], line_period_s: 0.001, n_rois: 1 })).toEqual(["2 × 8000 × 38", "8 s", "1 ROI"]);
  });
});

describe("regions", () => {
  const roi = { roi_id: 1, roi_type: "rect", data: { x0: 3, x1: 30, y0: 100, y1: 900 } };
  it("have their rows to the right in a kymograph, and come back", () => {
    expect(boxOfRoi(roi, true)).toEqual({ x0: 100, x1: 900, y0: 3, y1: 30 });
    for (const turned of [true, false]) expect(dataOfBox(boxOfRoi(roi, turned)!, turned)).toEqual(roi.data);
  });
  it("are whole samples within the image, drawn in any direction", () => {
    const plane = { width: 1000, height: 40, turned: true };
    expect(wholeBox({ x0: 900.2, x1: 100.7, y0: 60, y1: -3 }, plane)).toEqual({ x0: 100, x1: 901, y0: 0, y1: 40 });
    const point = wholeBox({ x0: 999.9, x1: 999.9, y0: 5, y1: 5 }, plane);
    expect([point.x1 - point.x0, point.y1 - point.y0]).toEqual([1, 1]);
  });
  it("are held at edges, corners and inside", () => {
    const box = { x0: 100, x1: 300, y0: 50, y1: 90 };
    expect(gripAt(box, 101, 52)).toBe("nw");
    expect(gripAt(box, 299, 70)).toBe("e");
    expect(gripAt(box, 200, 70)).toBe("inside");
    expect(gripAt(box, 20, 70)).toBeNull();
    expect(dragged(box, "se", 5, -5)).toEqual({ x0: 100, x1: 305, y0: 50, y1: 85 });
  });
});

const info = {
  plane: { kymograph: true, horizontal: { name: "time", unit: "s", step: 0.5, calibrated: true, size: 100 } },
  rois: [{ roi_id: 7 }, { roi_id: 4 }],
} as unknown as ImageInfo;

it("places events along the image in the order of time", () => {
  const found = placed({
    columns: ["event_type", "t_start_s", "t_end_s"], types: [], own_types: [], type_column: null,
    rows: [
      { row: 0, event_type: "b", t_start_s: 10, t_end_s: 12 },
      { row: 1, event_type: "a", t_start_s: 2, t_end_s: null },
      { row: 2, event_type: null, t_start_s: null, t_end_s: null },
    ],
  }, info);
  expect(found.map((one) => [one.data.row, one.type, one.x0, one.x1])).toEqual([[1, "a", 4, null], [0, "b", 20, 24], [2, "event", null, null]]);
});

describe("curves", () => {
  const data: SeriesData = {
    time_column: "time_s", column: "velocity_mm_s", unit: "mm/s",
    groups: [
      { label: "ROI 4, channel 1", roi_id: 4, channel: 1, time: [3, null, 1, 2], values: [30, 5, 10, null] },
      { label: "ROI 9, channel 1", roi_id: 9, channel: 1, time: [0], values: [1] },
    ],
  };
  const traces = tracesOf(data, info);
  it("have their times in order and the colour of their region", () => {
    expect(traces[0]).toMatchObject({ label: "ROI 4", color: 1, time: [1, 2, 3], values: [10, null, 30] });
  });
  it("are read at the nearest moment, and not where nothing was measured", () => {
    expect(valueAt(traces[0]!, 2.9)).toBe(30);
    expect(valueAt(traces[0]!, 2.1)).toBeNull();
    expect(valueAt(traces[0]!, 9)).toBeNull();
  });
});

describe("history", () => {
  const entry = (edit_id: string, more: Partial<HistoryEntry> = {}): HistoryEntry => ({
    edit_id, who: "a", when_utc: "", undoes: null, undone_by: null, changes: [{ what: "verdict", before: null, after: "accepted" }], ...more,
  });
  it("undoes the last edit that is neither undone nor an undo", () => {
    const history = [entry("1"), entry("2", { undone_by: "3" }), entry("3", { undoes: "2" })];
    expect(lastUndoable(history)?.edit_id).toBe("1");
    expect(lastUndoable([])).toBeNull();
  });
  it("is told in words", () => {
    expect(described(entry("1"))).toBe("accepted");
    expect(described(entry("1", { undoes: "0", changes: [{ what: "roi", before: null, after: {}, roi_id: 3 }] }))).toBe("undo: ROI 3 drawn");
  });
});

describe("plots", () => {
  it("put the points of all groups in one order", () => {
    const data = scatterColumns([{ label: "a", x: [3, 1, null], y: [30, 10, 5] }, { label: "b", x: [2], y: [20] }]);
    expect(data).toEqual([[1, 2, 3], [10, null, 30], [null, 20, null]]);
  });
  it("close the last bin of a histogram", () => {
    expect(histogramSteps([{ label: "a", edges: [0, 1, 2], counts: [5, 7] }])).toEqual([[0, 1, 2], [5, 7, 7]]);
  });
});
