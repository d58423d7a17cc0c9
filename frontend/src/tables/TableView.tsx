import { useRef } from "preact/hooks";
import { downloadUrl, getJson, url } from "../api/client";
import type { TableData } from "../api/types";
import { Filters } from "../gallery/Filters";
import { cell, plural } from "../lib/format";
import { imagePath, params, setQuery } from "../lib/router";
import { useTyped } from "../lib/typed";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { useKeys } from "../parts/keys";
import { useChanges } from "../parts/useChanges";
import { useLoad } from "../parts/useLoad";
import { Pager } from "../side/Artifacts";
import { Plot } from "./Plot";

const LIMIT = 100;

/** One table: searched, filtered and sorted by the server, a page at a time. */
export function TableView({ name }: { name: string }) {
  const query = params.value;
  const q = query.get("q") ?? "";
  const sort = query.get("sort") ?? "";
  const descending = query.get("descending") === "true";
  const where = query.getAll("where");
  const offset = Math.max(0, Number(query.get("offset")) || 0);
  const asked = { q, sort, descending: descending || null, where };
  const address = url(`/api/tables/${encodeURIComponent(name)}`, { ...asked, offset: offset || null, limit: LIMIT });
  const loaded = useLoad(address, (_, signal) => getJson<TableData>(address, signal));
  const [typed, type] = useTyped(q, 50, (text) => setQuery({ q: text, offset: null }));
  const search = useRef<HTMLInputElement>(null);
  const seen = useRef<string | null>(null);
  useChanges(undefined, ({ list }) => {
    if (seen.current !== null && seen.current !== list) loaded.reload();
    seen.current = list;
  }, 5000);
  useKeys((event) => {
    if (event.key === "/") search.current?.select();
    return event.key === "/";
  });
  const data = loaded.data;
  const columns = data?.columns ?? [];
  const sortBy = (column: string) => {
    // Up, down, and as it was.
    if (sort !== column) setQuery({ sort: column, descending: null, offset: null }, "push");
    else if (!descending) setQuery({ descending: "true", offset: null }, "push");
    else setQuery({ sort: null, descending: null, offset: null }, "push");
  };
  return (
    <section class="table-view" aria-label={name}>
      <div class="toolbar">
        <h1>{name}</h1>
        <label class="search">
          <Icon name="search" />
          <input ref={search} type="search" placeholder="Search rows" aria-label="Search rows" data-testid="table-search" value={typed}
            onInput={(e) => type(e.currentTarget.value)} />
        </label>
        <Filters columns={columns} where={where} onChange={(next) => setQuery({ where: next, offset: null }, "push")} />
        <span class="spacer" />
        <span class="count" role="status" data-testid="table-count" data-total={data?.total ?? ""}>{data ? plural(data.total, "row") : "…"}</span>
        {data?.href ? <a class="download" download href={data.href} title="All rows"><Icon name="save" /> Parquet</a> : <>
        <a class="download" download data-testid="table-csv" href={downloadUrl("table", name, { as: "csv", ...asked })}
          title="The rows that are shown, on all pages. A spreadsheet takes a cell that begins with = for a formula: import it as text."><Icon name="save" /> CSV</a>
        <a class="download" download href={downloadUrl("table", name, { as: "parquet", ...asked })} title="The rows that are shown, on all pages">Parquet</a>
        <a class="download" download data-testid="table-xlsx" href={downloadUrl("table", name, { as: "xlsx", ...asked })} title="The rows that are shown, on all pages, for Excel: text stays text">Excel</a></>}
      </div>
      {data && data.edited_since > 0 && (
        <p class="warning" role="status" data-testid="table-stale">
          Events of {plural(data.edited_since, "image")} were edited after this table was saved: it still holds what they were before, and so does its CSV. <code>ds.save_table_from()</code> saves it anew.
        </p>
      )}
      {columns.length > 0 && <Plot name={name} columns={columns} where={where} />}
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {data && (
        <div class={loaded.loading ? "table-scroll main stale" : "table-scroll main"} tabIndex={0}>
          <table class="data" data-testid="table">
            <thead>
              <tr>
                {columns.map((column) => (
                  <th key={column.name} aria-sort={sort === column.name ? (descending ? "descending" : "ascending") : "none"}
                    class={column.kind === "number" ? "num" : ""}>
                    <button type="button" data-testid="table-sort" data-column={column.name} onClick={() => sortBy(column.name)}>
                      {column.name} {sort === column.name && <Icon name={descending ? "down" : "up"} />}
                    </button>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {data.rows.map((row, i) => (
                <tr key={offset + i} data-testid="table-row">
                  {columns.map((column, j) => (
                    <td key={column.name} class={column.kind === "number" ? "num" : ""} title={typeof row[j] === "string" && row[j].length > 40 ? row[j] : undefined}>
                      {column.name === "image_id" && typeof row[j] === "string" ? <a href={imagePath(row[j])}>{row[j]}</a> : cell(row[j])}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
          {data.rows.length === 0 && <p class="empty">No rows match.</p>}
        </div>
      )}
      {data && <Pager offset={offset} limit={LIMIT} total={data.total} go={(to) => setQuery({ offset: to || null }, "push")} />}
    </section>
  );
}
