/** What an address holds: filters, ranges, planes. Nothing here touches the page. */

export const OPS = ["eq", "ne", "lt", "le", "gt", "ge", "contains", "present", "absent"] as const;
export type Op = (typeof OPS)[number];

export const OP_LABELS: Record<Op, string> = {
  eq: "=", ne: "≠", lt: "<", le: "≤", gt: ">", ge: "≥",
  contains: "contains", present: "is there", absent: "is missing",
};

export interface Filter {
  column: string;
  op: Op;
  value: string;
}

const FILTER = new RegExp(`^(.+?):(${OPS.join("|")})(?::([\\s\\S]*))?$`);

/** `column:op:value`; a column may itself hold a colon, as `n_rows:flow` does. */
export function parseFilter(text: string): Filter | null {
  const found = FILTER.exec(text);
  if (!found) return null;
  return { column: found[1]!, op: found[2] as Op, value: found[3] ?? "" };
}

export function needsValue(op: Op): boolean {
  return op !== "present" && op !== "absent";
}

export function formatFilter(filter: Filter): string {
  const { column, op, value } = filter;
  return needsValue(op) ? `${column}:${op}:${value}` : `${column}:${op}:`;
}

/** `0.5,12` as numbers; null unless there are exactly `count` finite ones. */
export function parseNumbers(text: string | null, count: number): number[] | null {
  if (!text) return null;
  const numbers = text.split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
  return numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
}

/** `c:0,z:3` as a mapping of axes to positions. Names are percent-encoded. */
export function parseAt(text: string | null): Record<string, number> {
  const at: Record<string, number> = {};
  for (const part of (text ?? "").split(",")) {
    const colon = part.lastIndexOf(":");
    const value = Number(part.slice(colon + 1));
    if (colon <= 0 || !Number.isInteger(value) || value < 0) continue;
    at[safeDecode(part.slice(0, colon))] = value;
  }
  return at;
}

export function formatAt(at: Record<string, number>): string {
  return Object.entries(at)
    .map(([name, value]) => `${name.replace(/[%,:]/g, encodeURIComponent)}:${value}`)
    .join(",");
}

/** `kind:name` and more parts, each percent-encoded where it holds a colon. */
export function joinKey(...parts: string[]): string {
  return parts.map((part) => part.replace(/[%:]/g, encodeURIComponent)).join(":");
}

export function splitKey(text: string | null): string[] {
  return text ? text.split(":").map(safeDecode) : [];
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export type Patch = Record<string, string | number | null | undefined | string[]>;

/** A query with some of it changed; null and "" take a name out. */
export function patched(search: string, patch: Patch): string {
  const params = new URLSearchParams(search);
  for (const [name, value] of Object.entries(patch)) {
    params.delete(name);
    if (Array.isArray(value)) for (const one of value) params.append(name, one);
    else if (value !== null && value !== undefined && value !== "") params.set(name, `${value}`);
  }
  // A colon or a comma may stand in a query as it is, and is easier to read.
  const text = params.toString().replace(/%3A/gi, ":").replace(/%2C/gi, ",");
  return text ? `?${text}` : "";
}
