/** What a server would answer, from the files of a published page. */

import { ApiError } from "../api/error";
import type { AnyImage, DatasetInfo, ImageRow } from "../api/types";
import { parseAt } from "../lib/query";
import { getPacked, getPart, unshuffled } from "./files";
import { pageFolder, publishedList } from "./place";
import { plot } from "./plot";
import { around, find, type Listed } from "./rows";

interface Dataset {
  info: DatasetInfo;
  images: Listed;
  /** For each image the file of its facts; null: it could not be published. */
  facts: (string | null)[];
  thumbnails: (string | null)[];
  /** The file of each table, and why one cannot be shown. */
  tables: Record<string, { file: string | null; error: string | null }>;
}

interface Facts {
  image: AnyImage;
  packs: string[];
  /** Which pack, offset and size of each answer. */
  parts: Record<string, [number, number, number]>;
}

interface Table extends Listed {
  edited_since: number;
  href: string;
}

// Files never change under one name.
const loading = new Map<string, Promise<unknown>>();
const MOST_FILES = 64;

function once<T>(file: string): Promise<T> {
  const known = loading.get(file) as Promise<T> | undefined;
  if (known) return known;
  const asked = getPacked<T>(file);
  loading.set(file, asked);
  asked.catch(() => loading.delete(file));
  if (loading.size > MOST_FILES) loading.delete([...loading.keys()].find((one) => one !== publishedList)!);
  return asked;
}

const dataset = () => once<Dataset>(publishedList!);
const missing = (what: string, where: string, hint: string | null = null) => new ApiError(404, "NotFoundError", what, where, hint);

async function factsOf(id: string): Promise<{ facts: Facts; all: Dataset; ids: string[] }> {
  const all = await dataset();
  const at = all.images.columns.findIndex((column) => column.name === "image_id");
  const ids = all.images.rows.map((row) => String(row[at]));
  const here = ids.indexOf(id);
  if (here < 0) throw missing("there is no such image", id);
  const file = all.facts[here];
  if (!file) throw missing("the image could not be published", id, "kymflow-zarr verify tells what is wrong with it.");
  return { facts: await once<Facts>(pageFolder + file), all, ids };
}

async function part(facts: Facts, key: string): Promise<ArrayBuffer> {
  const found = facts.parts[key];
  if (!found) throw missing("this was not published", key);
  const [pack, offset, size] = found;
  return getPart({ file: pageFolder + facts.packs[pack]!, offset, size });
}

const json = async (facts: Facts, key: string): Promise<any> => JSON.parse(new TextDecoder().decode(await part(facts, key)));

/** A place on other axes, however it was written. */
const atKey = (text: string | null) => Object.entries(parseAt(text)).sort(([a], [b]) => (a < b ? -1 : 1)).map(([axis, value]) => `${axis}:${value}`).join(",");

function pageOf<T>(all: T[], query: URLSearchParams, usual: number): T[] {
  const offset = Number(query.get("offset") ?? 0);
  return all.slice(offset, offset + Number(query.get("limit") ?? usual));
}

async function answerOfImage(id: string, what: string | undefined, query: URLSearchParams): Promise<unknown> {
  const { facts, all, ids } = await factsOf(id);
  const [kind, name] = [query.get("kind") ?? "", query.get("name") ?? ""];
  switch (what) {
    case undefined:
      return { ...facts.image, ...around(all.images, ids, id, query) };
    case "histogram":
      return json(facts, `histogram|${atKey(query.get("at"))}`);
    case "series":
      return json(facts, JSON.stringify(["series", kind, name, query.get("column") ?? ""]));
    case "events":
      return json(facts, JSON.stringify(["events", kind, name]));
    case "artifact": {
      const found = await json(facts, JSON.stringify(["artifact", kind, name]));
      return found.rows ? { ...found, rows: pageOf(found.rows, query, 100) } : found;
    }
  }
  throw missing("there is nothing at this address", id);
}

async function answerOfTable(name: string, isPlot: boolean, query: URLSearchParams): Promise<unknown> {
  const all = await dataset();
  const told = all.tables[name];
  if (!told) throw missing("there is no such table", name);
  if (!told.file) throw new ApiError(422, "LimitExceededError", told.error ?? "the table was not published", name, null);
  const table = await once<Table>(pageFolder + told.file);
  if (isPlot) return plot(table, all.images, query);
  const found = find(table, query);
  const { columns, edited_since, href } = table;
  return { columns, edited_since, href, total: found.length, rows: pageOf(found, query, 100).map((i) => table.rows[i]) };
}

async function images(query: URLSearchParams): Promise<unknown> {
  const all = await dataset();
  const found = find(all.images, query);
  const rows = pageOf(found, query, 100).map((i) => {
    const row = Object.fromEntries(all.images.columns.map(({ name }, at) => [name, all.images.rows[i]![at]]));
    return { ...row, thumbnail: all.thumbnails[i] } as unknown as ImageRow;
  });
  return { total: found.length, rows };
}

function parsed(address: string) {
  const [path = "", query] = address.split("?");
  const [, , what, id, part] = path.split("/").map(decodeURIComponent);
  return { what, id, part, query: new URLSearchParams(query) };
}

/** The answer to a request, which has the form of the server's. */
export async function published(address: string): Promise<unknown> {
  const { what, id, part, query } = parsed(address);
  if (what === "dataset") return (await dataset()).info;
  if (what === "images") return id === undefined ? images(query) : answerOfImage(id, part, query);
  if (what === "tables" && id !== undefined) return answerOfTable(id, part === "plot", query);
  throw missing("there is nothing at this address", address);
}

/** The numbers of a tile: rows, columns, type and bytes. */
export async function publishedBlock(address: string): Promise<{ rows: number; columns: number; dtype: string; bytes: ArrayBuffer }> {
  const { id, query } = parsed(address);
  const { facts } = await factsOf(id!);
  const [rows, columns, step] = ["rows", "columns", "step"].map((name) => query.get(name)!.split(/[:,]/).map(Number)) as [number[], number[], number[]];
  const size = (span: number[], by: number) => Math.ceil((span[1]! - span[0]!) / by);
  const bytes = await part(facts, `window|${atKey(query.get("at"))}|${rows[0]}|${columns[0]}|${step.join("|")}`);
  const dtype = facts.image.wire_dtype!;
  return { rows: size(rows, step[0]!), columns: size(columns, step[1]!), dtype, bytes: unshuffled(bytes, Number(dtype.slice(1))) };
}

/** The bytes of an array, as NumPy's file. */
export async function publishedArray(id: string, name: string): Promise<ArrayBuffer> {
  return part((await factsOf(id)).facts, JSON.stringify(["npy", name]));
}
