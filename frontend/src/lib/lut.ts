/** Colour maps of 256 entries, as RGBA in the byte order of the machine (little-endian). */

/** Seventeen colours of the maps of Nathaniel Smith and Stefan van der Walt (CC0). */
const VIRIDIS =
  "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725";
const MAGMA =
  "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf";

type Stops = readonly (readonly [number, number, number])[];

function hexStops(text: string): Stops {
  const stops: [number, number, number][] = [];
  for (let i = 0; i < text.length; i += 6) {
    const value = parseInt(text.slice(i, i + 6), 16);
    stops.push([value >> 16, (value >> 8) & 255, value & 255]);
  }
  return stops;
}

const BLACK = [0, 0, 0] as const;
const WHITE = [255, 255, 255] as const;

export const COLOR_MAPS = {
  gray: [BLACK, WHITE],
  "gray inverted": [WHITE, BLACK],
  viridis: hexStops(VIRIDIS),
  magma: hexStops(MAGMA),
  green: [BLACK, [0, 255, 0]],
  magenta: [BLACK, [255, 0, 255]],
  cyan: [BLACK, [0, 255, 255]],
  red: [BLACK, [255, 0, 0]],
  "red hot": [BLACK, [170, 0, 0], [255, 85, 0], [255, 255, 0], WHITE],
} satisfies Record<string, Stops>;

export type ColorMap = keyof typeof COLOR_MAPS;

export function isColorMap(name: string | null): name is ColorMap {
  return name !== null && Object.hasOwn(COLOR_MAPS, name);
}

const made = new Map<ColorMap, Uint32Array>();

export function lut(name: ColorMap): Uint32Array {
  let table = made.get(name);
  if (!table) {
    table = new Uint32Array(256);
    const stops: Stops = COLOR_MAPS[name];
    for (let i = 0; i < 256; i++) {
      const at = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      const share = at - low;
      const [a, b] = [stops[low]!, stops[low + 1]!];
      const mix = (j: 0 | 1 | 2) => Math.round(a[j] + (b[j] - a[j]) * share);
      table[i] = ((255 << 24) | (mix(2) << 16) | (mix(1) << 8) | mix(0)) >>> 0;
    }
    made.set(name, table);
  }
  return table;
}

/** The tints of channels that are drawn over each other; the same as in thumbnails. */
export const TINTS = ["#00ff00", "#ff00ff", "#00ffff", "#ffff00"] as const;
export const PRIMARIES = ["#ff0000", "#00ff00", "#0000ff"] as const;

/** From black to one colour, as `#rrggbb`. */
export function tint(color: string): Uint32Array {
  const full = parseInt(color.slice(1), 16);
  const [r, g, b] = [full >> 16, (full >> 8) & 255, full & 255];
  return Uint32Array.from({ length: 256 }, (_, i) =>
    ((255 << 24) | (Math.round((b * i) / 255) << 16) | (Math.round((g * i) / 255) << 8) | Math.round((r * i) / 255)) >>> 0);
}

/** Numbers of a C-ordered block; what type they have is told by the server. */
export type Samples =
  | Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

const TYPES = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array,
  u4: Uint32Array, i4: Int32Array, f4: Float32Array, f8: Float64Array,
} as const;

export function samplesOf(buffer: ArrayBuffer, dtype: string): Samples {
  if (!Object.hasOwn(TYPES, dtype)) throw new TypeError(`no such type of numbers: ${dtype}`);
  return new TYPES[dtype as keyof typeof TYPES](buffer);
}

/** Write a block as colours; `turned` makes rows run from left to right. NaN stays transparent. */
export function colorize(
  data: Samples,
  rows: number,
  columns: number,
  turned: boolean,
  low: number,
  high: number,
  table: Uint32Array,
  out: Uint32Array,
): void {
  const scale = 255.999 / (high > low ? high - low : 1e-300);
  for (let r = 0, i = 0; r < rows; r++) {
    let to = turned ? r : r * columns;
    const step = turned ? rows : 1;
    for (let c = 0; c < columns; c++, i++, to += step) {
      const level = (data[i]! - low) * scale;
      out[to] = level >= 255 ? table[255]! : level > 0 ? table[level | 0]! : level <= 0 ? table[0]! : 0;
    }
  }
}
