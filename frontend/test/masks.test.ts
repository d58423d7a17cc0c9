import { describe, expect, it } from "vitest";
import { parseNpy } from "../src/lib/npy";
import { outline } from "../src/lib/outline";

function npy(descr: string, shape: number[], data: number[], order = "False"): ArrayBuffer {
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const header = `${text.padEnd(118 - 1)}\n`;
  return new Uint8Array([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length, 0, ...new TextEncoder().encode(header), ...data]).buffer;
}

describe("arrays of NumPy", () => {
  it("are read sample by sample", () => {
    const found = parseNpy(npy("|b1", [2, 3], [0, 1, 0, 1, 1, 0]))!;
    expect(found.shape).toEqual([2, 3]);
    expect([0, 1, 2, 3, 4, 5].map(found.at)).toEqual([false, true, false, true, true, false]);
    const wide = parseNpy(npy("<u2", [2], [0, 1, 0, 0]))!;
    expect([0, 1].map(wide.at)).toEqual([true, false]);
  });
  it("are refused when they are of another kind, cut short or no arrays", () => {
    expect(parseNpy(npy("<f4", [1], [0, 0, 0, 0]))).toBeNull();
    expect(parseNpy(npy("|b1", [2, 2], [0, 0, 0, 0], "True"))).toBeNull();
    expect(parseNpy(npy("|b1", [2, 3], [1, 1]))).toBeNull();
    expect(parseNpy(new Uint8Array(40).buffer)).toBeNull();
  });
});

describe("the outline of a mask", () => {
  const mask = parseNpy(npy("|b1", [4, 5], [
    0, 0, 0, 0, 0,
    0, 1, 1, 1, 0,
    0, 1, 1, 1, 0,
    0, 1, 1, 1, 0,
  ]))!;
  it("is what lies at its edge", () => {
    const found = outline(mask, false);
    expect([found.width, found.height]).toEqual([5, 4]);
    expect([...found.marks]).toEqual([0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 2, 1, 2, 0, 0, 2, 2, 2, 0]);
    expect(found.box).toEqual({ x0: 1, x1: 4, y0: 1, y1: 4 });
  });
  it("turns with its image", () => {
    const found = outline(mask, true);
    expect([found.width, found.height]).toEqual([4, 5]);
    expect(found.box).toEqual({ x0: 1, x1: 4, y0: 1, y1: 4 });
    expect(found.marks[2 * 4 + 2]).toBe(1);
  });
  it("is none of an empty mask", () => expect(outline(parseNpy(npy("|b1", [1, 2], [0, 0]))!, false).box).toBeNull());
});
