/** Groups of a plot as columns that a chart takes: one x for all of them. */

import type { AlignedData } from "uplot";
import type { PlotData } from "../api/types";

type Group = PlotData["groups"][number];

/** Points of all groups in the order of x; each group has a column of its own. */
export function scatterColumns(groups: Group[]): AlignedData {
  const points: { x: number; y: number; group: number }[] = [];
  groups.forEach((group, i) => {
    group.x?.forEach((x, j) => {
      const y = group.y?.[j];
      if (typeof x === "number" && typeof y === "number") points.push({ x, y, group: i });
    });
  });
  points.sort((a, b) => a.x - b.x);
  return [
    points.map((point) => point.x),
    ...groups.map((_, i) => points.map((point) => (point.group === i ? point.y : null))),
  ] as AlignedData;
}

/** Steps of histograms; the last edge closes the last bin. Groups may have edges of their own. */
export function histogramSteps(groups: Group[]): AlignedData {
  const edges = [...new Set(groups.flatMap((group) => group.edges ?? []))].sort((a, b) => a - b);
  const columns = groups.map((group) => {
    const [its, counts] = [group.edges ?? [], group.counts ?? []];
    let bin = -1;
    return edges.map((edge) => {
      while (bin + 1 < its.length && its[bin + 1]! <= edge) bin += 1;
      if (bin < 0) return null;
      return bin < counts.length ? counts[bin]! : edge === its[its.length - 1] ? (counts[counts.length - 1] ?? null) : null;
    });
  });
  return [edges, ...columns] as AlignedData;
}
