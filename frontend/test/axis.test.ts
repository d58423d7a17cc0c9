import { describe, expect, it } from "vitest";
import type { DrawnAxis } from "../src/api/types";
import { placeOf, valueOf } from "../src/lib/axis";

const even: DrawnAxis = { name: "time", label: "time (s)", unit: "s", step: 0.5, size: 4, calibrated: true };
const uneven: DrawnAxis = { ...even, step: 1, size: 3, knots: { positions: [0, 1, 2, 3], values: [10, 11, 15, 16] } };

describe("axes", () => {
  it("have a value every step where they are even", () => {
    expect([valueOf(even, 3), placeOf(even, 1.5)]).toEqual([1.5, 3]);
  });
  it("have the values of their edges where they are not, and go on by the step beyond", () => {
    expect([0, 1, 1.5, 3, 4, -1].map((at) => valueOf(uneven, at))).toEqual([10, 11, 13, 16, 17, 9]);
    expect([10, 11, 13, 16, 17, 9].map((value) => placeOf(uneven, value))).toEqual([0, 1, 1.5, 3, 4, -1]);
  });
});
