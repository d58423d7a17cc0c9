/** Arrays as NumPy writes them: enough of it for masks. */

export interface Npy {
  shape: number[];
  /** Whether the sample at a position, counted in C order, is not zero. */
  at: (index: number) => boolean;
}

const SIZES: Record<string, number> = { b1: 1, u1: 1, i1: 1, u2: 2, i2: 2, u4: 4, i4: 4, u8: 8, i8: 8 };

/** null: an array of another kind than those that masks are made of. */
export function parseNpy(buffer: ArrayBuffer): Npy | null {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 12 || bytes[0] !== 0x93 || String.fromCharCode(...bytes.subarray(1, 6)) !== "NUMPY") return null;
  const view = new DataView(buffer);
  const wide = bytes[6]! >= 2;
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, end));
  const descr = /'descr': '[<|=]([biu]\d)'/.exec(header)?.[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1]?.split(",").filter((part) => part.trim()).map(Number);
  const size = descr ? SIZES[descr] : undefined;
  if (!size || !shape || !/'fortran_order': False/.test(header)) return null;
  const count = shape.reduce((a, b) => a * b, 1);
  if (bytes.length < end + count * size) return null;
  const at = (index: number) => {
    for (let i = end + index * size; i < end + (index + 1) * size; i++) if (bytes[i] !== 0) return true;
    return false;
  };
  return { shape, at };
}
