/** Search, filter and sort rows in the page, as the server does where there is one. */

import { ApiError } from "../api/error";
import type { Kind } from "../api/types";
import { parseFilter } from "../lib/query";

export interface Listed {
  columns: { name: string; kind: Kind; unit?: string | null }[];
  rows: unknown[][];
  /** Columns in which words are searched; those of text and lists if left out. */
  searched?: string[];
}

const gone = (value: unknown) => value === null || value === undefined;
const textOf = (value: unknown): string =>
  gone(value) ? "" : Array.isArray(value) ? value.map(textOf).join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);

/** A number, or the seconds of a time; NaN: missing. */
export function numberOf(value: unknown, kind: Kind): number {
  if (gone(value)) return NaN;
  if (kind !== "time") return Number(value);
  const text = String(value);
  // A time without a zone is UTC, as everywhere in the package.
  return Date.parse(/T.*(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : text.includes("T") ? `${text}Z` : text) / 1000;
}

const wrong = (what: string, where: string) => new ApiError(400, "ArgumentError", what, where, null);

export function columnAt(listed: Listed, name: string): number {
  const at = listed.columns.findIndex((column) => column.name === name);
  if (at < 0) throw wrong(`there is no column '${name}'`, name);
  return at;
}

type Test = (row: unknown[]) => boolean;

function condition(listed: Listed, text: string): Test {
  const filter = parseFilter(text);
  if (!filter) throw wrong(`'${text}' is no condition`, "where");
  const { column, op, value } = filter;
  const at = columnAt(listed, column);
  const { kind } = listed.columns[at]!;
  const sought = value.toLowerCase();
  if (op === "present") return (row) => !gone(row[at]);
  if (op === "absent") return (row) => gone(row[at]);
  if (op === "contains") return (row) => textOf(row[at]).toLowerCase().includes(sought);
  if (kind === "number" || kind === "time") {
    const limit = value.trim() === "" ? NaN : numberOf(value, kind);
    if (Number.isNaN(limit)) throw wrong(`'${value}' is not a ${kind}, which '${column}' holds`, "where");
    const compare = { eq: (n: number) => n === limit, ne: (n: number) => n !== limit, lt: (n: number) => n < limit, le: (n: number) => n <= limit, gt: (n: number) => n > limit, ge: (n: number) => n >= limit }[op];
    return (row) => compare(numberOf(row[at], kind));
  }
  const is = (each: unknown) =>
    !gone(each) && (typeof each === "boolean" ? String(each) === sought : textOf(each) === value || (Array.isArray(each) && each.some((one) => textOf(one) === value)));
  if (op === "eq") return (row) => is(row[at]);
  if (op === "ne") return (row) => !is(row[at]);
  if (kind === "list") throw wrong(`the lists of '${column}' have no order`, "where");
  const order = { lt: (t: string) => t < sought, le: (t: string) => t <= sought, gt: (t: string) => t > sought, ge: (t: string) => t >= sought }[op];
  return (row) => !gone(row[at]) && order(textOf(row[at]).toLowerCase());
}

/** Whether each row has all words, and holds all conditions. */
export function mask(listed: Listed, query: URLSearchParams): boolean[] {
  const tests = query.getAll("where").map((text) => condition(listed, text));
  const words = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const { searched } = listed;
  const among = listed.columns.flatMap(({ name, kind }, at) => ((searched ? searched.includes(name) : kind === "text" || kind === "list") ? [at] : []));
  const has = (row: unknown[]) => {
    const text = among.map((at) => textOf(row[at]).toLowerCase()).join("\n");
    return words.every((word) => text.includes(word));
  };
  return listed.rows.map((row) => tests.every((test) => test(row)) && (!words.length || has(row)));
}

/** The positions of all rows in the order of a query; missing values last, in either direction. */
export function ordered(listed: Listed, query: URLSearchParams): number[] {
  const all = listed.rows.map((_, i) => i);
  const name = query.get("sort") ?? "";
  const down = ["1", "true", "yes"].includes((query.get("descending") ?? "").toLowerCase());
  if (!name) return down ? all.reverse() : all;
  const at = columnAt(listed, name);
  const { kind } = listed.columns[at]!;
  const numeric = kind === "number" || kind === "time";
  const keys = listed.rows.map((row) => (numeric ? numberOf(row[at], kind) : textOf(row[at]).toLowerCase()));
  const missing = (i: number) => gone(listed.rows[i]![at]) || Number.isNaN(keys[i]);
  const part = (a: unknown, b: unknown) => (typeof a === "number" && typeof b === "number" ? a - b : compareTexts(textOf(a).toLowerCase(), textOf(b).toLowerCase()));
  const compare = (i: number, j: number): number => {
    if (kind !== "list") return numeric ? (keys[i] as number) - (keys[j] as number) : compareTexts(keys[i] as string, keys[j] as string);
    const [a, b] = [i, j].map((k) => { const value = listed.rows[k]![at]; return Array.isArray(value) ? value : [value]; }) as [unknown[], unknown[]];
    for (let k = 0; k < Math.min(a.length, b.length); k++) {
      const by = part(a[k], b[k]);
      if (by) return by;
    }
    return a.length - b.length;
  };
  const there = all.filter((i) => !missing(i)).sort((i, j) => (down ? -1 : 1) * compare(i, j) || i - j);
  return [...there, ...all.filter(missing)];
}

const compareTexts = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** The positions of the rows that match, in the order of a query. */
export function find(listed: Listed, query: URLSearchParams): number[] {
  const listedIn = mask(listed, query);
  return ordered(listed, query).filter((i) => listedIn[i]);
}

/** Which image is before and after one in the list of a query. */
export function around(listed: Listed, ids: string[], id: string, query: URLSearchParams) {
  const here = ids.indexOf(id);
  const inList = mask(listed, query);
  // One that is not listed stands where it would be.
  const order = ordered(listed, query).filter((i) => inList[i] || i === here);
  const at = order.indexOf(here);
  return {
    previous: at > 0 ? ids[order[at - 1]!]! : null, next: at >= 0 && at + 1 < order.length ? ids[order[at + 1]!]! : null,
    position: here >= 0 && inList[here] ? at + 1 : null, n_listed: inList.filter(Boolean).length,
  };
}
