import { useMemo, useState } from "preact/hooks";
import { getJson, postJson, url } from "../api/client";
import type { DatasetInfo } from "../api/types";
import { count, plural } from "../lib/format";
import { patched } from "../lib/query";
import { imagePath, params, setQuery } from "../lib/router";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { useChanges } from "../parts/useChanges";
import { useLoad } from "../parts/useLoad";
import { cellsOf } from "./cells";
import { DraftStore, textOf, type Drafts } from "./drafts";
import type { Refused, Saved, SheetData, SheetField } from "./types";

const PAGE = 200;
let store: DraftStore | null = null;

/** Metadata of the images of the gallery's list: a row for each image, a column for each field. */
export function SheetPage({ info }: { info: DatasetInfo }) {
  store ??= new DraftStore(info.dataset_id);
  const drafts = store;
  const query = params.value;
  const offset = Number(query.get("offset") ?? 0) || 0;
  const address = url("/api/metadata", {
    q: query.get("q"), sort: query.get("sort"), descending: query.get("descending"), where: query.getAll("where"),
    offset: offset || null, limit: PAGE,
  });
  const loaded = useLoad(address, (_, signal) => getJson<SheetData>(address, signal));
  useChanges(undefined, () => loaded.reload(), 5000);
  const [added, setAdded] = useState<string[]>([]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [told, setTold] = useState("");
  const [refused, setRefused] = useState<Refused[]>([]);
  const [undone, setUndone] = useState<Saved[]>([]);
  const data = loaded.data;
  const fields = useMemo(() => {
    const there = data?.fields ?? [];
    const typed = Object.values(drafts.all.value).flatMap((row) => Object.keys(row));
    const more = [...new Set([...added, ...typed])].filter((name) => !there.some((field) => field.name === name));
    return [...there, ...more.map((name): SheetField => ({ name }))];
  }, [data, added, drafts.all.value]);
  const rows = data?.rows ?? [];
  const all = drafts.all.value;
  const n = Object.values(all).reduce((sum, row) => sum + Object.values(row).filter(({ text }) => text.trim()).length, 0);

  const run = async (request: () => Promise<void>) => {
    setBusy(true);
    setError(null);
    await request().catch(setError);
    setBusy(false);
    loaded.reload();
  };
  const done = (saved: Saved, of: string) => {
    setRefused(saved.refused);
    setTold(`${plural(saved.n_values, "value")} of ${plural(saved.ids.length, "image")} written${saved.refused.length ? `, ${count(saved.refused.length)} refused` : ""}${of}`);
    if (saved.edit_id) setUndone((before) => [...before, saved]);
  };
  const write = () => run(async () => {
    const sent: Drafts = {};
    const cells: Record<string, Record<string, string>> = {};
    const seen: Record<string, Record<string, unknown>> = {};
    for (const [image, row] of Object.entries(all)) {
      for (const [field, draft] of Object.entries(row)) {
        if (!draft.text.trim()) continue;
        (sent[image] ??= {})[field] = draft;
        (cells[image] ??= {})[field] = draft.text;
        for (const other of rows) (seen[other.image_id] ??= {})[field] ??= other.values[field] ?? null;
      }
    }
    for (const [image, row] of Object.entries(sent)) {
      for (const [field, draft] of Object.entries(row)) {
        // What was refused has been shown with what is there now.
        if (!draft.reason || !rows.some((one) => one.image_id === image)) (seen[image] ??= {})[field] = draft.seen;
      }
    }
    const saved = await postJson<Saved>("/api/metadata/save", { cells, seen });
    drafts.sent(sent, saved.refused);
    done(saved, "");
  });
  const undo = () => run(async () => {
    const last = undone[undone.length - 1]!;
    await postJson("/api/judge/undo", { edit_id: last.edit_id, ids: last.ids });
    setUndone(undone.slice(0, -1));
    setTold(`Undone: ${plural(last.n_values, "value")} of ${plural(last.ids.length, "image")}`);
  });
  const paste = (event: ClipboardEvent, row: number, column: number) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/[\t\n]/.test(text.replace(/\r?\n$/, ""))) return;
    event.preventDefault();
    const pasted = cellsOf(text);
    let outside = 0;
    const into = pasted.flatMap((cells, i) => cells.flatMap((cell, j) => {
      const [image, field] = [rows[row + i], fields[column + j]];
      if (!image || !field || image.damaged) outside += 1;
      return image && field && !image.damaged ? [{ image: image.image_id, field: field.name, text: cell, shown: image.values[field.name] }] : [];
    }));
    drafts.set(into);
    setTold(`${plural(into.length, "cell")} pasted${outside ? `; ${count(outside)} lie outside of this sheet and were left out` : ""}`);
  };
  const walk = (event: KeyboardEvent, row: number, column: number) => {
    const by = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" || event.key === "Enter" ? 1 : 0;
    if (!by || event.isComposing) return;
    const next = document.querySelector<HTMLInputElement>(`input[data-cell="${row + by},${column}"]`);
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.select();
  };
  const nameOf = (id: string | null) => rows.find((row) => row.image_id === id)?.name ?? id;

  return (
    <main class="sheet-page" id="main" tabIndex={-1} data-testid="sheet" data-busy={busy || loaded.loading}>
      <h1 class="unseen">Metadata of the images of {info.name}</h1>
      <div class="toolbar">
        <span class="count" role="status">{data ? plural(data.total, "image") : "…"}</span>
        {info.editable && <>
          <button type="button" class="primary" data-testid="sheet-write" disabled={!n || busy} onClick={write}>Write {plural(n, "value")}</button>
          {n > 0 && <button type="button" data-testid="sheet-discard" disabled={busy} onClick={() => drafts.clear()}>Discard</button>}
          {undone.length > 0 && <button type="button" data-testid="sheet-undo" disabled={busy} onClick={undo}><Icon name="undo" /> Undo</button>}
          <form class="add-field" onSubmit={(event) => {
            event.preventDefault();
            const input = event.currentTarget.elements.namedItem("field") as HTMLInputElement;
            if (input.value.trim()) setAdded([...added, input.value.trim()]);
            input.value = "";
          }}>
            <input name="field" aria-label="New field" placeholder="New field" data-testid="sheet-field" />
            <button type="submit">Add</button>
          </form>
        </>}
        <span class="spacer" />
        <span class="dim" role="status" data-testid="sheet-told">{told}</span>
      </div>
      <ErrorBox error={error ?? loaded.error} retry={loaded.error ? loaded.reload : undefined} />
      {refused.length > 0 && (
        <ul class="refused" aria-label="Refused" data-testid="sheet-refused">
          {refused.slice(0, 20).map((cell) => (
            <li key={`${cell.row} ${cell.column}`}><b>{nameOf(cell.image_id) ?? `row ${cell.row}`}, {cell.column}</b>: {cell.reason}</li>
          ))}
          {refused.length > 20 && <li>and {count(refused.length - 20)} more</li>}
        </ul>
      )}
      <div class="table-scroll main" tabIndex={0} role="region" aria-label="Sheet">
        <table class="data sheet">
          <thead>
            <tr>
              <th scope="col">image</th>
              {fields.map((field) => (
                <th scope="col" key={field.name} title={field.description ?? undefined}>
                  {field.name}{field.unit && <span class="dim"> {field.unit}</span>}{field.required && <span title="required"> *</span>}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, r) => (
              <tr key={row.image_id} data-testid="sheet-row" data-image-id={row.image_id}>
                <th scope="row"><a href={imagePath(row.image_id)}>{row.name}</a>{row.damaged && <span class="bad"> damaged</span>}</th>
                {fields.map((field, c) => {
                  const shown = row.values[field.name];
                  const draft = all[row.image_id]?.[field.name];
                  if (!info.editable || row.damaged || (typeof shown === "object" && shown !== null)) return <td key={field.name}>{textOf(shown)}</td>;
                  return (
                    <td key={field.name} class={draft ? (draft.reason ? "refused" : "typed") : ""}>
                      <input data-cell={`${r},${c}`} aria-label={`${row.name}, ${field.name}`} aria-invalid={!!draft?.reason} title={draft?.reason}
                        list={field.choices?.length ? `choices ${c}` : undefined} value={draft?.text ?? textOf(shown)} spellcheck={false}
                        onInput={(e) => drafts.set([{ image: row.image_id, field: field.name, text: e.currentTarget.value, shown }])}
                        onBlur={() => draft && !draft.text.trim() && drafts.set([{ image: row.image_id, field: field.name, text: textOf(shown), shown }])}
                        onPaste={(e) => paste(e, r, c)} onKeyDown={(e) => walk(e, r, c)} />
                      {draft && textOf(draft.seen) !== textOf(shown) && <span class="now">now: {textOf(shown) || "empty"}</span>}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {fields.map((field, c) => field.choices?.length ? (
        <datalist id={`choices ${c}`} key={field.name}>{field.choices.map((value) => <option key={String(value)} value={String(value)} />)}</datalist>
      ) : null)}
      {data && data.total > PAGE && (
        <nav class="pager" aria-label="Pages of the sheet">
          <button type="button" disabled={!offset} onClick={() => setQuery({ offset: String(Math.max(0, offset - PAGE)) || null }, "push")}>Previous</button>
          <span>{count(offset + 1)} to {count(Math.min(data.total, offset + PAGE))} of {count(data.total)}</span>
          <button type="button" disabled={offset + PAGE >= data.total} onClick={() => setQuery({ offset: String(offset + PAGE) }, "push")}>Next</button>
        </nav>
      )}
      {info.editable && <Rows busy={busy} send={(text) => run(async () => done(await postJson<Saved>("/api/metadata/save", { text }), " from the pasted rows"))} />}
    </main>
  );
}

/** Rows of a spreadsheet that has its own columns, the first of which names the images. */
function Rows({ busy, send }: { busy: boolean; send: (text: string) => void }) {
  const [text, setText] = useState("");
  return (
    <details class="paste-rows" data-testid="sheet-paste">
      <summary>Paste rows that name their images</summary>
      <p class="dim">The first row names the columns, and the first column the images. Empty cells leave values as they are.</p>
      <textarea rows={6} aria-label="Rows with a header" spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />
      <button type="button" disabled={busy || !text.trim()} data-testid="sheet-paste-write" onClick={() => send(text)}>Write these rows</button>
    </details>
  );
}

export const sheetPath = (list: string) => `/sheet${patched(list, { as: null, row: null, offset: null })}`;
