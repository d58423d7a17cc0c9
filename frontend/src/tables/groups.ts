/** Where the points of a plot by groups stand. Nothing here touches the page. */

const SWARM_ROWS = 40;
const HALF_WIDTH = 0.36;

/**
 * How far each point of a group stands beside the middle, in groups: points of a swarm that have nearly the same value stand
 * side by side, others are spread evenly. As `point_offsets` of the Python package has it.
 */
export function pointOffsets(values: number[], span: number, kind: string): number[] {
  // Multiples of the golden ratio fill an interval evenly, however many there are.
  if (kind !== "swarm") return values.map((_, i) => ((((i + 1) * 0.6180339887498949) % 1) - 0.5) * HALF_WIDTH);
  const height = span / SWARM_ROWS || 1;
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const filled = new Map<number, number>();
  const places = values.map((value) => {
    const row = Math.round((value - least) / height);
    const rank = filled.get(row) ?? 0;
    filled.set(row, rank + 1);
    // 0, 1, -1, 2, -2, ...: from the middle outwards.
    return rank % 2 === 1 ? (rank + 1) / 2 : -rank / 2 + 0;
  });
  const widest = places.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
  const step = Math.min(0.05, HALF_WIDTH / widest);
  return places.map((place) => place * step);
}

/** The ends of an axis that holds all values, with some air. */
export function valueRange(values: number[]): [number, number] {
  if (!values.length) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const air = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - air, high + air];
}

/** Lines between the values that a unit has in several groups: [group, value] of each. */
export function pairLines(groups: { units: unknown[]; values: number[] }[]): [number, number][][] {
  const lines = new Map<string, [number, number][]>();
  groups.forEach((group, at) => {
    group.units.forEach((unit, i) => {
      const key = String(unit);
      lines.set(key, [...(lines.get(key) ?? []), [at, group.values[i]!]]);
    });
  });
  return [...lines.values()].filter((line) => line.length > 1);
}
