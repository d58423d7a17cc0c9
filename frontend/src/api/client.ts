/** Requests to the server that this page is from, or to the files that it was published with; there is no other. */

import { signal } from "@preact/signals";
import { samplesOf, type Samples } from "../lib/lut";
import { base, pageFolder, publishedList } from "../published/place";
import { published, publishedArray, publishedBlock } from "../published/source";
import { ApiError } from "./error";

export { ApiError };

type Value = string | number | boolean | null | undefined | string[];

export function url(path: string, query: Record<string, Value> = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const one of value) params.append(name, one);
    else if (value !== null && value !== undefined && value !== "") params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

export const imageUrl = (id: string, what = "", query: Record<string, Value> = {}) =>
  url(`/api/images/${encodeURIComponent(id)}${what && `/${what}`}`, query);

export const downloadUrl = (kind: "image" | "figure" | "artifact" | "table" | "values", id: string, query: Record<string, Value>) =>
  url(`/download/${kind}/${encodeURIComponent(id)}`, query);

export const isAbort = (error: unknown) => error instanceof DOMException && error.name === "AbortError";

/** How many answers the page waits for. */
export const inFlight = signal(0);

async function ask(address: string, init: RequestInit, quiet = false): Promise<Response> {
  let answer: Response;
  if (!quiet) inFlight.value = inFlight.peek() + 1;
  try {
    answer = await fetch(base + address, { credentials: "same-origin", ...init });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(
      0, "NoAnswer", "The server does not answer.", null,
      "Is `kymflow-zarr view` still running? Start it again and reload this page.",
    );
  } finally {
    if (!quiet) inFlight.value = inFlight.peek() - 1;
  }
  if (!answer.ok) throw await errorOf(answer);
  return answer;
}

async function errorOf(answer: Response): Promise<ApiError> {
  const told = await answer.json().then((body) => body?.error, () => null);
  if (told && typeof told.what === "string") {
    return new ApiError(answer.status, told.type ?? "Error", told.what, told.where ?? null, told.hint ?? null);
  }
  return new ApiError(answer.status, "Error", `The server answered ${answer.status} ${answer.statusText}`, null, null);
}

/** Wait for files, as for answers. */
async function waited<T>(files: Promise<T>): Promise<T> {
  inFlight.value = inFlight.peek() + 1;
  try {
    return await files;
  } finally {
    inFlight.value = inFlight.peek() - 1;
  }
}

export async function getJson<T>(address: string, signal?: AbortSignal): Promise<T> {
  if (publishedList !== null) return (await waited(published(address))) as T;
  const answer = await ask(address, { signal: signal ?? null, headers: { Accept: "application/json" } });
  return (await answer.json()) as T;
}

export interface Changes {
  list: string;
  revision: string | null;
}

/** What has changed since; nobody waits for the answer. */
export async function getChanges(image?: string): Promise<Changes> {
  // What was published does not change under the page.
  if (publishedList !== null) return new Promise(() => undefined);
  const answer = await ask(url("/api/changes", { image }), { headers: { Accept: "application/json" } }, true);
  return await answer.json();
}

/** The same, whenever it changes. */
export const changeStream = (image?: string): EventSource | null =>
  publishedList === null && document.visibilityState === "visible" ? new EventSource(base + url("/api/live", { image })) : null;

export async function postJson<T>(address: string, body: unknown): Promise<T> {
  const answer = await ask(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  return (await answer.json()) as T;
}

export interface Block {
  rows: number;
  columns: number;
  data: Samples;
}

export async function getBlock(address: string, signal: AbortSignal): Promise<Block> {
  if (publishedList !== null) {
    const { rows, columns, dtype, bytes } = await waited(publishedBlock(address));
    return { rows, columns, data: samplesOf(bytes, dtype) };
  }
  const answer = await ask(address, { signal });
  const [rows = 0, columns = 0] = (answer.headers.get("X-Shape") ?? "").split(",").map(Number);
  const data = samplesOf(await answer.arrayBuffer(), answer.headers.get("X-Dtype") ?? "");
  if (data.length !== rows * columns) {
    throw new ApiError(0, "Error", "The server sent a block of another size than it says.", null, null);
  }
  return { rows, columns, data };
}

/** An array that is an artifact, as a file of NumPy; null where there is none. */
export async function getArray(id: string, name: string, signal: AbortSignal): Promise<ArrayBuffer | null> {
  if (publishedList !== null) return publishedArray(id, name);
  const answer = await fetch(base + downloadUrl("artifact", id, { kind: "array", name, as: "npy" }), { signal });
  return answer.ok ? answer.arrayBuffer() : null;
}

export const licencesUrl = `${pageFolder}licenses.txt`;
