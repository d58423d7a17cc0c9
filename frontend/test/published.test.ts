import { describe, expect, test } from "vitest";
import { offeredLevel } from "../src/lib/tiles";
import { together, unshuffled } from "../src/published/files";
import { edgesOf, plot } from "../src/published/plot";
import { around, find, type Listed } from "../src/published/rows";

const listed: Listed = {
  columns: [
    { name: "image_id", kind: "text" }, { name: "depth", kind: "number" }, { name: "when", kind: "time" }, { name: "shape", kind: "list" }, { name: "ok", kind: "text" },
  ],
  rows: [
    ["Ada", 10, "2025-07-22T10:00:00", [10, 4], true],
    ["bob", null, "2025-07-22T12:00:00+02:00", [9, 40], false],
    ["eve", 2, null, [100, 4], null],
  ],
};
const asked = (text: string) => find(listed, new URLSearchParams(text));

describe("rows of a published page", () => {
  test.each([
    ["", [0, 1, 2]], ["descending=true", [2, 1, 0]], ["q=ADA", [0]], ["q=10 4", [0, 2]], ["sort=depth", [2, 0, 1]],
    ["sort=depth&descending=true", [0, 2, 1]], ["sort=shape", [1, 0, 2]], ["sort=when", [0, 1, 2]], ["where=depth:ge:2", [0, 2]],
    ["where=depth:ne:2", [0, 1]], ["where=depth:absent", [1]], ["where=ok:eq:True", [0]], ["where=shape:eq:40", [1]], ["where=when:eq:2025-07-22T10:00:00Z", [0, 1]],
    ["where=when:lt:2025-07-22", []], ["where=image_id:gt:b", [1, 2]], ["where=image_id:contains:a", [0]],
  ])("%s", (text, rows) => expect(asked(text)).toEqual(rows));

  test("a wrong question is told", () => {
    expect(() => asked("where=depth:gt:deep")).toThrow("not a number");
    expect(() => asked("sort=nothing")).toThrow("no column");
    expect(() => asked("where=shape:lt:3")).toThrow("no order");
    expect(() => asked("where=nonsense")).toThrow("no condition");
  });

  test("one that is not in the list stands where it would be", () => {
    const ids = ["Ada", "bob", "eve"];
    expect(around(listed, ids, "bob", new URLSearchParams("where=depth:present"))).toEqual({ previous: "Ada", next: "eve", position: null, n_listed: 2 });
    expect(around(listed, ids, "eve", new URLSearchParams("sort=depth"))).toEqual({ previous: null, next: "Ada", position: 1, n_listed: 3 });
  });
});

describe("plots of a published page", () => {
  test("few integers have bins of their own, others forty", () => {
    expect(edgesOf([1, 3, 3])).toEqual([0.5, 1.5, 2.5, 3.5]);
    expect(edgesOf([0, 0.5, 1])).toHaveLength(41);
    expect(edgesOf([])).toHaveLength(41);
  });

  test("rows are grouped by a column of their image", () => {
    const table: Listed = { columns: [{ name: "image_id", kind: "text" }, { name: "v", kind: "number" }], rows: [["Ada", 1], ["bob", 2], ["eve", 2], ["eve", null]] };
    const found = plot(table, listed, new URLSearchParams("x=v&by=ok"));
    expect(found.groups.map((group) => [group.label, group.counts])).toEqual([["", [0, 1]], ["false", [0, 1]], ["true", [1, 0]]]);
    expect(found.total).toBe(3);
    expect(plot(table, listed, new URLSearchParams("x=v&y=v")).groups[0]!.x).toEqual([1, 2, 2]);
  });
});

test("parts that lie close together come with one request", () => {
  const part = (file: string, offset: number, size: number) => ({ file, offset, size });
  const [a, b, c, d] = [part("x", 0, 10), part("x", 10, 10), part("x", 10_000_000, 5), part("y", 20, 5)];
  expect(together([c!, b!, d!, a!])).toEqual([[a, b], [c], [d]]);
});

test("bytes come back together", () => {
  const values = new Uint16Array([1, 256, 515]);
  const packed = new Uint8Array([1, 0, 3, 0, 1, 2]);
  expect(new Uint16Array(unshuffled(packed.buffer, 2))).toEqual(values);
});

describe("the level of a published image", () => {
  const plane = { width: 4096, height: 1024, turned: false };
  const view = { x0: 0, x1: 4096, y0: 0, y1: 1024 };
  const offered: [number, number][] = [[1, 1], [2, 2], [2, 4], [2, 8]];
  test("loses nothing that is seen", () => {
    expect(offeredLevel({ across: 4, down: 4 }, offered, view, plane)).toEqual({ across: 4, down: 2 });
    expect(offeredLevel({ across: 8, down: 1 }, offered, view, plane)).toEqual({ across: 1, down: 1 });
    expect(offeredLevel({ across: 8, down: 1 }, undefined, view, plane)).toEqual({ across: 8, down: 1 });
  });
  test("takes a bounded number of tiles", () => {
    const long = { ...plane, width: 2 ** 20 };
    const levels: [number, number][] = Array.from({ length: 12 }, (_, i) => [Math.min(2 ** i, 2), 2 ** i]);
    expect(offeredLevel({ across: 1024, down: 1 }, levels, { ...view, x1: 2 ** 20 }, long)).toEqual({ across: 64, down: 2 });
  });
});
