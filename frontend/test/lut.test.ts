import { describe, expect, it } from "vitest";
import { COLOR_MAPS, colorize, isColorMap, lut, samplesOf, type ColorMap } from "../src/lib/lut";

const rgba = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];

describe("colour maps", () => {
  it("begin and end as they are known to", () => {
    expect(rgba(lut("gray")[0]!)).toEqual([0, 0, 0, 255]);
    expect(rgba(lut("gray")[255]!)).toEqual([255, 255, 255, 255]);
    expect(rgba(lut("viridis")[0]!)).toEqual([68, 1, 84, 255]);
    expect(rgba(lut("viridis")[255]!)).toEqual([253, 231, 37, 255]);
    expect(rgba(lut("gray inverted")[0]!)).toEqual([255, 255, 255, 255]);
  });
  it("are opaque throughout", () => {
    for (const name of Object.keys(COLOR_MAPS)) for (const value of lut(name as ColorMap)) expect(value >>> 24).toBe(255);
  });
  it("are known by name alone", () => {
    expect(isColorMap("magma")).toBe(true);
    expect(isColorMap("constructor")).toBe(false);
    expect(isColorMap(null)).toBe(false);
  });
});

describe("colorize", () => {
  const table = Uint32Array.from({ length: 256 }, (_, i) => i + 1);
  it("puts numbers between darkest and brightest", () => {
    const out = new Uint32Array(5);
    colorize(new Int16Array([-5, 10, 15, 20, 500]), 1, 5, false, 10, 20, table, out);
    expect([out[0], out[1], out[3], out[4]]).toEqual([1, 1, 256, 256]);
    expect(out[2]).toBeGreaterThan(120);
    expect(out[2]).toBeLessThan(137);
  });
  it("turns rows to the right", () => {
    const out = new Uint32Array(6);
    colorize(new Uint8Array([0, 255, 0, 0, 0, 255]), 3, 2, true, 0, 255, table, out);
    // Two rows of three: the columns of what came.
    expect([...out]).toEqual([1, 1, 1, 256, 1, 256]);
  });
  it("leaves what is no number transparent", () => {
    const out = new Uint32Array(2);
    colorize(new Float32Array([NaN, 1]), 1, 2, false, 0, 1, table, out);
    expect(out[0]).toBe(0);
    expect(out[1]).toBe(256);
  });
  it("can do with no contrast at all", () => {
    const out = new Uint32Array(3);
    colorize(new Float32Array([4, 5, 6]), 1, 3, false, 5, 5, table, out);
    expect([...out]).toEqual([1, 1, 256]);
  });
});

it("reads numbers as the type that the server tells", () => {
  const buffer = new Uint8Array([1, 0, 255, 255]).buffer;
  expect([...samplesOf(buffer, "u2")]).toEqual([1, 65535]);
  expect([...samplesOf(buffer, "i2")]).toEqual([1, -1]);
  expect(() => samplesOf(buffer, "toString")).toThrow(TypeError);
});
