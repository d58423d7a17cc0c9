import { describe, expect, it } from "vitest";

const found = import.meta.glob<string>("../src/**/*.{ts,tsx,css}", { query: "?raw", import: "default", eager: true });
const files = Object.keys(found);
const text = (name: string) => found[name] ?? "";

// What a dataset holds is text, and is never read as anything else; and nothing comes from elsewhere.
const FORBIDDEN: [string, RegExp][] = [
  ["HTML made of text", /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc/],
  ["code made of text", /\beval\s*\(|new Function\s*\(|set(Timeout|Interval)\s*\(\s*["'`]/],
  ["another host", /https?:\/\/(?!www\.w3\.org\/)/],
];

describe("the source", () => {
  it("is found", () => expect(files.length).toBeGreaterThan(30));
  for (const [what, pattern] of FORBIDDEN) {
    it(`has no ${what}`, () => expect(files.filter((name) => pattern.test(text(name)))).toEqual([]));
  }
  it("is in small files", () => expect(files.filter((name) => text(name).split("\n").length > 300)).toEqual([]));
});
