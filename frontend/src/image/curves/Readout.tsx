import { valueOf } from "../../lib/axis";
import { number } from "../../lib/format";
import { formatAt } from "../../lib/query";
import { onPage } from "../../lib/theme";
import { useSignal, useSignalEffect } from "@preact/signals";
import type { Stage } from "../stage";
import type { TileCache } from "../pixels/tilecache";
import { valueAt, type Trace } from "./traces";

interface Props {
  stage: Stage;
  cache: () => TileCache | null;
  traces: Trace[];
  unit: string | null;
  aligned: boolean;
}

/** What is under the mouse: time, position, intensity and the curves, in one line. */
export function Readout({ stage, cache, traces, unit, aligned }: Props) {
  const { horizontal, vertical } = stage.info.value.plane;
  const hover = stage.hover.value;
  // The numbers of a finer tile may come while the mouse rests.
  const again = useSignal(0);
  useSignalEffect(() => {
    if (stage.hover.value) setTimeout(() => (again.value += 1), 400);
  });
  again.value;
  const item = (name: string, value: string, id: string, swatch?: string) => (
    <span class="readout-item" key={id}>
      {swatch && <span class="swatch" style={{ background: swatch }} />}
      <span class="dim">{name}</span> <b data-testid={`readout-${id}`}>{value}</b>
    </span>
  );
  if (!hover) {
    return <div class="readout" data-testid="readout"><span class="dim">Point at the image or at a curve to read it.</span></div>;
  }
  const seconds = valueOf(horizontal, hover.x);
  const found = hover.y === null ? null : cache()?.value(Math.floor(hover.x), Math.floor(hover.y), formatAt(stage.at.value));
  const mean = found && found.across * found.down > 1 ? ` (mean of ${found.across} × ${found.down})` : "";
  return (
    <div class="readout" data-testid="readout">
      {item(horizontal.name, `${fixed(seconds, horizontal.step)} ${horizontal.unit}`, "x")}
      {hover.y !== null && item(vertical.name === "x" || vertical.name === "y" ? (stage.info.value.plane.kymograph ? "position" : vertical.name) : vertical.name,
        `${fixed(valueOf(vertical, hover.y), vertical.step)} ${vertical.unit}`, "y")}
      {found && item("intensity", number(found.value, 5) + mean, "intensity")}
      {aligned && traces.map((trace, i) => {
        const value = valueAt(trace, seconds);
        return item(trace.label, value === null ? "–" : `${number(value, 4)}${unit ? ` ${unit}` : ""}`, `value-${i}`, onPage(trace.color));
      })}
      <span class="readout-item dim" data-testid="readout-sample">
        sample {Math.floor(hover.x)}{hover.y === null ? "" : `, ${Math.floor(hover.y)}`}
      </span>
    </div>
  );
}

/** As many decimals as one sample tells. */
function fixed(value: number, step: number): string {
  return value.toFixed(Math.max(0, Math.min(6, Math.ceil(-Math.log10(step)))));
}
