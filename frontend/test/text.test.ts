import { describe, expect, it } from "vitest";
import { bytes, cell, columnLabel, count, number, plural, when } from "../src/lib/format";
import { barLength, niceStep, tickLabel, ticks } from "../src/lib/ticks";

describe("numbers", () => {
  it("have as many digits as are needed", () => {
    expect([0, 12, 1.23456, 0.00012345, 123456.789, 1e12, -0.5].map((n) => number(n))).toEqual(
      ["0", "12", "1.235", "1.234e-4", "123457", "1e+12", "-0.5"]);
    expect(number(null)).toBe("–");
    expect(number(NaN)).toBe("–");
  });
  it("are grouped where they count", () => {
    expect(count(1234567)).toBe("1\u202f234\u202f567");
    expect(plural(1, "image")).toBe("1 image");
    expect(plural(0, "image")).toBe("0 images");
  });
  it("are sizes", () => expect([5, 1500, 2.5e6].map(bytes)).toEqual(["5 B", "1.50 kB", "2.50 MB"]));
  it("are cells, and what is no number too", () => {
    expect([null, "", true, [1, 2], 0.1 + 0.2].map(cell)).toEqual(["", "", "true", "[1,2]", "0.3"]);
  });
});

it("tells times by the minute", () => {
  expect(when("2025-07-22T12:13:14.620000")).toBe("2025-07-22 12:13");
  expect(when("yesterday")).toBe("yesterday");
  expect(when(null)).toBe("");
});

it("names columns with their unit once", () => {
  expect(columnLabel("velocity_mm_s", "mm/s")).toBe("velocity (mm/s)");
  expect(columnLabel("velocity_mm_s")).toBe("velocity (mm/s)");
  expect(columnLabel("diameter_um", "µm")).toBe("diameter (µm)");
  expect(columnLabel("t_start")).toBe("t start");
});

describe("ticks", () => {
  it("are round", () => {
    expect([9, 0.7, 30, 4500].map((extent) => niceStep(extent, 5))).toEqual([2, 0.2, 10, 1000]);
    expect(ticks(0.95, 3.1, 4)).toEqual({ step: 1, values: [1, 2, 3] });
  });
  it("have the decimals of their step", () => {
    expect(tickLabel(0.30000000000000004, 0.1)).toBe("0.3");
    expect(tickLabel(-0, 0.5)).toBe("0.0");
    expect(tickLabel(2000, 500)).toBe("2000");
  });
  it("do not hang on an axis of no length", () => expect(ticks(1, 1, 5).values.length).toBeLessThan(3));
  it("make a scale bar that fits", () => {
    for (const extent of [0.0123, 1, 3.3, 30, 451, 99999]) {
      expect(barLength(extent)).toBeLessThanOrEqual(extent / 3.9);
      expect(barLength(extent)).toBeGreaterThan(extent / 11);
    }
  });
});
