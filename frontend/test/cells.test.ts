import { expect, test } from "vitest";
import { cellsOf } from "../src/sheet/cells";

test("cells of a spreadsheet are those that were copied", () => {
  expect(cellsOf("a\tb\r\nc\td\r\n")).toEqual([["a", "b"], ["c", "d"]]);
  expect(cellsOf("one")).toEqual([["one"]]);
  expect(cellsOf("")).toEqual([[""]]);
  expect(cellsOf("a\t\n\tb")).toEqual([["a", ""], ["", "b"]]);
});

test("quotes hold tabs, lines and quotes, and are plain text elsewhere", () => {
  expect(cellsOf('"a\tb"\t"two\nlines"\n"say ""x"""\tc')).toEqual([["a\tb", "two\nlines"], ['say "x"', "c"]]);
  expect(cellsOf('5" needle\t"open')).toEqual([['5" needle', '"open']]);
});
