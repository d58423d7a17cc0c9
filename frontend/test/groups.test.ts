import { expect, test } from "vitest";
import { pairLines, pointOffsets, valueRange } from "../src/tables/groups";

test("points of a swarm stand side by side only where they would overlap", () => {
  expect(pointOffsets([1, 1, 1, 9], 8, "swarm")).toEqual([0, 0.05, -0.05, 0]);
  const many = pointOffsets(new Array(1000).fill(0), 0, "swarm");
  expect(new Set(many).size).toBe(1000);
  expect(Math.max(...many.map(Math.abs))).toBeLessThanOrEqual(0.36);
});

test("points of a strip are spread, and the same ones each time", () => {
  const one = pointOffsets([1, 1, 1], 0, "strip");
  expect(new Set(one).size).toBe(3);
  expect(pointOffsets([1, 1, 1], 0, "strip")).toEqual(one);
});

test("an axis holds all values, one value and none", () => {
  expect(valueRange([])).toEqual([0, 1]);
  const [low, high] = valueRange([5]);
  expect(low).toBeLessThan(5);
  expect(high).toBeGreaterThan(5);
});

test("a unit of several groups is a line, one of a single group is not", () => {
  const groups = [{ units: ["m1", "m2"], values: [1, 2] }, { units: ["m1"], values: [3] }];
  expect(pairLines(groups)).toEqual([[[0, 1], [1, 3]]]);
});
