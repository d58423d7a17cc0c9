import { useEffect } from "preact/hooks";
import type { DatasetInfo } from "../api/types";
import { count, plural } from "../lib/format";
import { path, replacePath, tablePath } from "../lib/router";
import { TableView } from "./TableView";

/** The tables of the dataset, and one of them. */
export function TablesPage({ name, info }: { name: string | null; info: DatasetInfo }) {
  const table = name ?? info.tables[0]?.name ?? null;
  useEffect(() => {
    // The address names what is seen.
    if (!name && table) replacePath(tablePath(table));
  }, [path.value, table]);
  return (
    <main class="tables-page" id="main" tabIndex={-1}>
      <nav class="table-list" aria-label="Tables">
        <h2>{plural(info.tables.length, "table")}</h2>
        <ul>
          {info.tables.map((one) => (
            <li key={one.name}>
              <a href={tablePath(one.name)} class={one.name === table ? "on" : ""} aria-current={one.name === table ? "true" : undefined} data-testid="table-link">
                <span>{one.name}</span> {one.error ? <span class="bad" title={one.error}>damaged</span> : <span class="dim">{count(one.n_rows ?? 0)}</span>}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      {table ? <TableView key={table} name={table} /> : <p class="page">The dataset has no tables.</p>}
    </main>
  );
}
