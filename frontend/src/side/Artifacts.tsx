import { useState } from "preact/hooks";
import { downloadUrl, getJson, imageUrl } from "../api/client";
import type { AnyImage, ArtifactData } from "../api/types";
import { bytes, cell, count, shape } from "../lib/format";
import { ErrorBox } from "../parts/ErrorBox";
import { useLoad } from "../parts/useLoad";
import { Json } from "./Json";

type Artifact = AnyImage["artifacts"][number];

/** What is stored beside the pixels; each can be opened here and downloaded. */
export function Artifacts({ info }: { info: AnyImage }) {
  const [open, setOpen] = useState<string | null>(null);
  if (!info.artifacts.length) return <p class="dim">None.</p>;
  return (
    <ul class="artifacts">
      {info.artifacts.map((one) => {
        const key = `${one.kind}:${one.name}`;
        return (
          <li key={key} data-testid="artifact-row" data-name={one.name}>
            <div class="artifact-head">
              <button type="button" class="artifact-open" aria-expanded={open === key} onClick={() => setOpen(open === key ? null : key)}>
                <span class="artifact-name">{one.name}</span> <span class="dim">{one.kind} {bytes(one.size_bytes)}</span>
                {one.stale && <span class="warn" title={one.stale}> out of date</span>}
                {one.error && <span class="bad" title={one.error}> damaged</span>}
              </button>
              {one.forms.map((form) => (
                <a key={form} class="download" download href={one.href ?? downloadUrl("artifact", info.image_id, { kind: one.kind, name: one.name, as: form })}>{form.toUpperCase()}</a>
              ))}
            </div>
            {open === key && <ArtifactView id={info.image_id} revision={info.revision} artifact={one} />}
          </li>
        );
      })}
    </ul>
  );
}

const PAGE = 25;

function ArtifactView({ id, revision, artifact }: { id: string; revision: string; artifact: Artifact }) {
  const [offset, setOffset] = useState(0);
  const address = imageUrl(id, "artifact", { kind: artifact.kind, name: artifact.name, offset: offset || null, limit: PAGE });
  const loaded = useLoad(`${revision} ${address}`, (_, signal) => getJson<ArtifactData>(address, signal));
  const data = loaded.data;
  if (loaded.error) return <ErrorBox error={loaded.error} retry={loaded.reload} />;
  if (!data) return <p class="dim">Loading…</p>;
  if (data.shape) return <p data-testid="artifact-view">An array of {shape(data.shape)}, {data.dtype}.</p>;
  if (data.rows && data.columns) {
    const names = data.columns.map((column) => (typeof column === "string" ? column : column.name));
    const total = data.total ?? data.rows.length;
    return (
      <div data-testid="artifact-view">
        <div class="table-scroll" tabIndex={0}>
          <table class="data">
            <thead><tr>{names.map((name) => <th key={name}>{name}</th>)}</tr></thead>
            <tbody>
              {data.rows.map((row, i) => (
                <tr key={i}>{names.map((name, j) => {
                  const value = Array.isArray(row) ? row[j] : row[name];
                  return <td key={name} class={typeof value === "number" ? "num" : ""}>{cell(value)}</td>;
                })}</tr>
              ))}
            </tbody>
          </table>
        </div>
        <Pager offset={offset} limit={PAGE} total={total} go={setOffset} />
      </div>
    );
  }
  return <div data-testid="artifact-view"><Json value={data.json} /></div>;
}

export function Pager({ offset, limit, total, go }: { offset: number; limit: number; total: number; go: (offset: number) => void }) {
  if (total <= limit && offset === 0) return null;
  return (
    <div class="pager" data-testid="pager">
      <button type="button" disabled={offset === 0} aria-label="First" onClick={() => go(0)}>«</button>
      <button type="button" disabled={offset === 0} data-testid="pager-previous" onClick={() => go(Math.max(0, offset - limit))}>Previous</button>
      <span>{count(Math.min(offset + 1, total))}–{count(Math.min(offset + limit, total))} of {count(total)}</span>
      <button type="button" disabled={offset + limit >= total} data-testid="pager-next" onClick={() => go(offset + limit)}>Next</button>
      <button type="button" disabled={offset + limit >= total} aria-label="Last" onClick={() => go(Math.floor((total - 1) / limit) * limit)}>»</button>
    </div>
  );
}
