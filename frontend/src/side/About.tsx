import { useState } from "preact/hooks";
import { downloadUrl, url } from "../api/client";
import type { AnyImage, ImageInfo } from "../api/types";
import { base, publishedList } from "../published/place";
import { number, shape, when } from "../lib/format";
import { formatAt, formatFilter } from "../lib/query";
import { tablePath } from "../lib/router";
import type { Stage } from "../image/stage";
import { Icon } from "../parts/icons";
import { Json } from "./Json";

/** The facts of the image itself, and where else it can be had. */
export function Facts({ info }: { info: ImageInfo }) {
  const { horizontal, vertical } = info.plane;
  const axis = (one: typeof horizontal) =>
    one.calibrated ? `${number(one.step, 5)} ${one.unit} a sample, ${number(one.step * one.size, 5)} ${one.unit} in all` : `${one.size} samples, not calibrated`;
  const rows: [string, string | null | undefined][] = [
    ["Id", info.image_id],
    ["Shape", `${shape(info.shape)} ${info.dtype}`],
    [horizontal.name, axis(horizontal)],
    [vertical.name, axis(vertical)],
    ["Channels", info.channel_names?.join(", ")],
    ["Acquired", when(info.acquired)],
    ["Added", info.created_utc && `${when(info.created_utc)} UTC`],
    ["Changed", info.updated_utc && info.updated_utc !== info.created_utc ? `${when(info.updated_utc)} UTC` : null],
    ["Source", info.source?.rel_path ?? info.source?.path],
  ];
  return (
    <dl class="facts" data-testid="facts">
      {rows.filter(([, value]) => value).map(([name, value]) => (
        <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
      ))}
    </dl>
  );
}

const FIGURES = ["svg", "pdf", "png"];

export function Downloads({ info, stage }: { info: ImageInfo; stage: Stage }) {
  // Of channels that are drawn over each other, a contrast for each.
  const ranges = stage.layers.value.map((layer) => layer.colors);
  const shown = { at: formatAt(stage.at.value), low: ranges.map(({ low }) => low).join(), high: ranges.map(({ high }) => high).join(), map: stage.colorMap.value, rois: stage.showRois.value ? null : "false" };
  const [copied, setCopied] = useState(false);
  const zarr = info.ome_zarr && new URL(base + info.ome_zarr, location.href).href;
  const copy = async () => {
    if (!zarr) return;
    try {
      await navigator.clipboard.writeText(zarr);
    } catch {
      // A page that is not served safely may not; the field is marked so that a key copies it.
      document.querySelector<HTMLInputElement>("[data-testid='ome-zarr']")?.select();
      return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <>
      {publishedList === null && <p><a class="download" download data-testid="download-tif" href={downloadUrl("image", info.image_id, { as: "tif" })}><Icon name="save" /> TIFF</a>
        {FIGURES.map((form) => (
          <a key={form} class="download" download data-testid={`figure-${form}`} href={downloadUrl("figure", info.image_id, { as: form, ...shown })}
            title="A figure of the plane and contrast that are shown, with axes and scale bar">{form.toUpperCase()}</a>
        ))}
      </p>}
      {zarr && (
        <div class="copy-row">
          <label>
            <span>OME-Zarr address, for any viewer{publishedList === null && " while this server runs"}</span>
            <input readOnly data-testid="ome-zarr" value={zarr} onFocus={(e) => e.currentTarget.select()} />
          </label>
          <button type="button" data-testid="ome-zarr-copy" onClick={() => void copy()}><Icon name={copied ? "check" : "copy"} /> {copied ? "Copied" : "Copy"}</button>
        </div>
      )}
    </>
  );
}

export function InTables({ info }: { info: AnyImage }) {
  const there = info.tables.filter((table) => table.n_rows > 0);
  if (!there.length) return <p class="dim">No table has rows of this image.</p>;
  const where = formatFilter({ column: "image_id", op: "eq", value: info.image_id });
  return (
    <ul class="plain">
      {there.map((table) => (
        <li key={table.name}>
          <a href={url(tablePath(table.name), { where })}>{table.name}</a> <span class="dim">{table.n_rows} {table.n_rows === 1 ? "row" : "rows"}</span>
        </li>
      ))}
    </ul>
  );
}

/** Metadata without the regions, which have a list of their own. */
export function Metadata({ info }: { info: ImageInfo }) {
  const value = info.metadata;
  if (!value || typeof value !== "object") return <p class="dim">None.</p>;
  const { rois: _, experiment_metadata, ...rest } = value as Record<string, unknown>;
  return (
    <div data-testid="metadata">
      {experiment_metadata !== undefined && <Json value={experiment_metadata} name="experiment_metadata" depth={1} open />}
      {Object.entries(rest).map(([name, one]) => <Json key={name} value={one} name={name} depth={1} />)}
    </div>
  );
}
