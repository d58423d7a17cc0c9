import type { SeriesData } from "../../api/types";
import { columnLabel } from "../../lib/format";
import { setQuery } from "../../lib/router";
import { onPage } from "../../lib/theme";
import { ErrorBox } from "../../parts/ErrorBox";
import type { Loaded } from "../../parts/useLoad";
import { madeBy, Results } from "../../side/Results";
import { Chart } from "./Chart";
import type { Stage } from "../stage";
import type { Choice, Trace } from "./traces";

interface Props {
  stage: Stage;
  all: Choice[];
  choice: Choice | null;
  loaded: Loaded<SeriesData>;
  traces: Trace[];
  aligned: boolean;
  types: string[];
  /** Another curve is chosen; by default it goes into the address. */
  onChoose?: (key: string) => void;
}

/** The curves, and which they are. */
export function ChartPanel({ stage, all, choice, loaded, traces, aligned, types, onChoose = (key) => setQuery({ series: key }, "push") }: Props) {
  const info = stage.info.value;
  const artifact = choice && info.artifacts.find((one) => one.kind === choice.kind && one.name === choice.name);
  const stale = artifact?.stale;
  const results = artifact ? info.results.filter((one) => one.artifact === artifact.key) : [];
  const names = [...new Set(all.map((one) => one.name))];
  return (
    <section class={choice ? "chart-panel" : "chart-panel closed"} aria-label="Curves over time">
      <div class="chart-head">
        <label class="field inline">
          <span>Curve</span>
          <select data-testid="series-select" value={choice?.key ?? "none"} onChange={(e) => onChoose(e.currentTarget.value)}>
            {names.map((name) => (
              <optgroup key={name} label={name}>
                {all.filter((one) => one.name === name).map((one) => (
                  <option key={one.key} value={one.key}>{columnLabel(one.column, one.unit)}</option>
                ))}
              </optgroup>
            ))}
            <option value="none">none</option>
          </select>
        </label>
        {traces.map((trace) => (
          <button type="button" key={trace.label} class={trace.roi !== null && trace.roi === stage.roi.value ? "legend on" : "legend"}
            disabled={trace.roi === null} title={trace.roi === null ? undefined : "Select this region"} onClick={() => (stage.roi.value = trace.roi)}>
            <span class="swatch" style={{ background: onPage(trace.color) }} /> {trace.label}
          </button>
        ))}
        <span class="spacer" />
        {choice && !aligned && <span class="dim">The image's axis is not time in seconds, so this has an axis of its own.</span>}
        {choice && aligned && <span class="dim hide-small">drag to zoom, double click for all</span>}
      </div>
      {stale && <p class="warning" role="status" data-testid="stale-curve">This curve is out of date: {stale}.</p>}
      {results.length > 0 && (
        <details class="made-by" data-testid="made-by">
          <summary>{[...new Set(results.map(madeBy))].join("; ")}</summary>
          <Results info={info} results={results} />
        </details>
      )}
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {choice && !loaded.error && (
        <Chart stage={stage} traces={traces} label={columnLabel(choice.column, choice.unit)} aligned={aligned} types={types} />
      )}
    </section>
  );
}
