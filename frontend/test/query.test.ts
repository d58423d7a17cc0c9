import { describe, expect, it } from "vitest";
import { formatAt, formatFilter, joinKey, parseAt, parseFilter, parseNumbers, patched, splitKey } from "../src/lib/query";

describe("filters", () => {
  it("reads a column that holds a colon", () => {
    expect(parseFilter("n_rows:flow:ge:2")).toEqual({ column: "n_rows:flow", op: "ge", value: "2" });
  });
  it("keeps colons of the value", () => {
    expect(parseFilter("acquired:lt:2025-07-22T12:13")).toEqual({ column: "acquired", op: "lt", value: "2025-07-22T12:13" });
  });
  it("comes back as it went", () => {
    for (const text of ["a:eq:", "condition:contains:28d AngII", "x:present:", "é:ne:a:eq:b"]) {
      expect(formatFilter(parseFilter(text)!)).toBe(text);
    }
  });
  it("refuses what is none", () => {
    expect(parseFilter("a:like:b")).toBeNull();
    expect(parseFilter(":eq:b")).toBeNull();
  });
});

describe("numbers and planes", () => {
  it("takes exactly as many finite numbers as are wanted", () => {
    expect(parseNumbers("1,2.5", 2)).toEqual([1, 2.5]);
    for (const text of [null, "", "1", "1,2,3", "1,", "1,x", "1,Infinity"]) expect(parseNumbers(text, 2)).toBeNull();
  });
  it("names planes and comes back", () => {
    const at = { c: 1, z: 3, "odd,na:me%": 2 };
    expect(parseAt(formatAt(at))).toEqual(at);
    expect(parseAt("c:-1,z:x,:2,t:1")).toEqual({ t: 1 });
  });
  it("joins and splits names with colons", () => {
    expect(splitKey(joinKey("parquet", "a:b%", "v"))).toEqual(["parquet", "a:b%", "v"]);
  });
});

describe("patched", () => {
  it("changes only what it is told", () => {
    expect(patched("?q=a&sort=b", { q: null, x: 3 })).toBe("?sort=b&x=3");
    expect(patched("", { where: ["a:eq:1", "b:lt:2"] })).toBe("?where=a:eq:1&where=b:lt:2");
    expect(patched("?where=a:eq:1", { where: [] })).toBe("");
  });
  it("keeps what would end a value", () => {
    const text = patched("", { q: "a&b=c #?" });
    expect(new URLSearchParams(text).get("q")).toBe("a&b=c #?");
  });
});
