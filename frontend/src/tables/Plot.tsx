import { getJson, url } from "../api/client";
import type { Column, PlotData } from "../api/types";
import { dataset } from "../dataset";
import { count } from "../lib/format";
import { params, setQuery } from "../lib/router";
import { onPage } from "../lib/theme";
import { ErrorBox } from "../parts/ErrorBox";
import { useLoad } from "../parts/useLoad";
import { PlotChart } from "./PlotChart";

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
  const address = x ? url(`/api/tables/${encodeURIComponent(name)}/plot`, { x, y, by, where }) : null;
  const loaded = useLoad(address, (_, signal) => getJson<PlotData>(address!, signal));
  const data = x ? loaded.data : null;
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
        {pick("Plot", "plot-x", x, "no plot", numeric, (value) => setQuery({ px: value, ...(value ? {} : { py: null, by: null }) }, "push"))}
        {x && pick("against", "plot-y", y, "how many (histogram)", numeric.filter((one) => one !== x), (value) => setQuery({ py: value }, "push"))}
        {x && pick("by", "plot-by", by, "nothing", own, (value) => setQuery({ by: value }, "push"), ofImages)}
        {data && data.groups.length > 0 && (by ? data.groups : []).map((group, i) => (
          <span class="legend" key={group.label}><span class="swatch" style={{ background: onPage(i) }} /> {group.label || "(none)"}</span>
        ))}
        {data && <span class="dim" data-testid="plot-total">{count(data.total)} values{data.sampled ? ", some of them drawn" : ""}</span>}
      </div>
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {data && !loaded.error && <PlotChart data={data} />}
    </section>
  );
}
