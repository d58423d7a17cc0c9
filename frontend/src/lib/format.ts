/** Numbers, sizes and times as people read them. */

/** As many digits as tell neighbours apart, no more than needed. */
export function number(value: unknown, digits = 4): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size + 1))))));
}

export function count(value: number): string {
  return value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? n : n.toPrecision(3)} ${units[unit]}`;
}

/** `2025-07-22T12:13:14.620000` as `2025-07-22 12:13`; what is no time stays as it is. */
export function when(text: unknown): string {
  if (typeof text !== "string") return "";
  return /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(text) ? text.slice(0, 16).replace("T", " ") : text;
}

/** A cell of a table. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return number(value, 6);
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "true" : "false";
  return JSON.stringify(value);
}

/** `velocity_mm_s` as `velocity (mm/s)`. */
export function columnLabel(column: string, unit?: string | null): string {
  if (unit) {
    const tail = `_${unit.replace(/[/ ]/g, "_").replace("µ", "u")}`;
    const bare = column.endsWith(tail) ? column.slice(0, -tail.length) : column;
    return `${bare.replaceAll("_", " ")} (${unit})`;
  }
  if (column.endsWith("_mm_s")) return `${column.slice(0, -5).replaceAll("_", " ")} (mm/s)`;
  return column.replaceAll("_", " ");
}

export function shape(sizes: readonly number[] | null | undefined): string {
  return sizes?.length ? sizes.join(" × ") : "";
}
