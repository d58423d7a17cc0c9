import { getJson, url } from "../api/client";
import type { Column, PlotData } from "../api/types";
import { dataset } from "../dataset";
import { count } from "../lib/format";
import { params, setQuery } from "../lib/router";
import { onPage } from "../lib/theme";
import { ErrorBox } from "../parts/ErrorBox";
import { useLoad } from "../parts/useLoad";
import { publishedList } from "../published/place";
import { GroupPlot } from "./GroupPlot";
import { PlotChart } from "./PlotChart";

const KINDS = { swarm: "points, side by side", strip: "points, spread", box: "box and points" };

/** A histogram of a column or two columns against each other, by a third. */
export function Plot({ name, columns, where }: { name: string; columns: Column[]; where: string[] }) {
  const query = params.value;
  const numbers = columns.filter((column) => column.kind === "number");
  const own = columns.filter((one) => one.kind !== "list").map((one) => one.name);
  // A table of images can be told apart by what is known of them, as their condition.
  const ofImages = own.includes("image_id")
    ? (dataset.value?.columns ?? []).filter((one) => one.kind === "text" && !own.includes(one.name)).map((one) => one.name)
    : [];
  const numeric = numbers.map((one) => one.name);
  const has = (column: string | null, among: string[]) => (column !== null && among.includes(column) ? column : "");
  const [x, y] = [has(query.get("px"), numeric), has(query.get("py"), numeric)];
  const by = has(query.get("by"), [...own, ...ofImages]);
  // Values of images or animals by group, in place of a histogram.
  // Their statistics are computed by the server.
  const grouped = own.includes("image_id") && publishedList === null;
  const kind = y || !grouped ? "" : has(query.get("kind"), Object.keys(KINDS));
  const unit = has(query.get("unit"), [...own, ...ofImages]);
  const paired = query.get("paired") === "true";
  const address = x && !kind ? url(`/api/tables/${encodeURIComponent(name)}/plot`, { x, y, by, where }) : null;
  const loaded = useLoad(address, (_, signal) => getJson<PlotData>(address!, signal));
  const data = x && !kind ? loaded.data : null;
  const pick = (label: string, id: string, value: string, none: string, names: string[], set: (value: string) => void, more: string[] = []) => (
    <label class="field inline">
      <span>{label}</span>
      <select data-testid={id} value={value} onChange={(e) => set(e.currentTarget.value)}>
        <option value="">{none}</option>
        {names.map((one) => <option key={one} value={one}>{one}</option>)}
        {more.length > 0 && <optgroup label="of the image">{more.map((one) => <option key={one} value={one}>{one}</option>)}</optgroup>}
      </select>
    </label>
  );
  return (
    <section class="plot" aria-label="Plot">
      <div class="section-tools">
        {pick("Plot", "plot-x", x, "no plot", numeric, (value) => setQuery({ px: value, ...(value ? {} : { py: null, by: null, kind: null, unit: null, paired: null }) }, "push"))}
        {x && pick("against", "plot-y", y, "how many (histogram)", numeric.filter((one) => one !== x), (value) => setQuery({ py: value }, "push"))}
        {x && pick("by", "plot-by", by, "nothing", own, (value) => setQuery({ by: value }, "push"), ofImages)}
        {x && !y && grouped && (
          <label class="field inline">
            <span>as</span>
            <select data-testid="plot-kind" value={kind} onChange={(e) => setQuery({ kind: e.currentTarget.value || null }, "push")}>
              <option value="">histogram of rows</option>
              {Object.entries(KINDS).map(([one, text]) => <option key={one} value={one}>{text}</option>)}
            </select>
          </label>
        )}
        {kind && pick("a point for each", "plot-unit", unit, "image", own.filter((one) => one !== "image_id" && one !== x), (value) => setQuery({ unit: value }, "push"), ofImages)}
        {kind && unit && (
          <label class="field inline">
            <input type="checkbox" data-testid="plot-paired" checked={paired} onChange={(e) => setQuery({ paired: e.currentTarget.checked ? "true" : null }, "push")} />
            <span>joined</span>
          </label>
        )}
        {data && data.groups.length > 0 && (by ? data.groups : []).map((group, i) => (
          <span class="legend" key={group.label}><span class="swatch" style={{ background: onPage(i) }} /> {group.label || "(none)"}</span>
        ))}
        {data && <span class="dim" data-testid="plot-total">{count(data.total)} values{data.sampled ? ", some of them drawn" : ""}</span>}
      </div>
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {kind && <GroupPlot name={name} asked={{ value: x, by: by ? [by] : [], unit: unit || null, where }} kind={kind} paired={paired && unit !== ""} />}
      {data && !loaded.error && <PlotChart data={data} />}
    </section>
  );
}
