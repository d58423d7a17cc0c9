/** Files and parts of files of a published page. */

import { ApiError } from "../api/error";

/** Position and size in bytes of a part, and which file it is in. */
export interface Part {
  file: string;
  offset: number;
  size: number;
}

// Parts that lie close together come with one request: what is between them takes no longer than another one.
const GAP = 2 ** 17;
// So long one waits for others, in ms: a picture asks for its tiles in the frame after its histogram.
const PATIENCE = 20;
const MOST = 2 ** 22;

const failed = (what: string, where: string, hint: string) => new ApiError(0, "NoAnswer", what, where, hint);

async function fetched(file: string, range?: string): Promise<Response> {
  let answer: Response;
  try {
    // Names of images are names of files, with percent signs of their own.
    answer = await fetch(file.split("/").map(encodeURIComponent).join("/"), { credentials: "same-origin", headers: range ? { Range: range } : {} });
  } catch {
    throw failed("The host does not answer.", file, "Is there a connection? Try again.");
  }
  if (answer.status === 404 || answer.status === 403) {
    throw failed("The host has no such file.", file, "The dataset may have been published again meanwhile: reload the page.");
  }
  if (!answer.ok) throw failed(`The host answered ${answer.status} ${answer.statusText}`, file, "Try again later.");
  return answer;
}

/** The bytes of a part as they were before they were packed. */
async function inflated(data: BlobPart): Promise<ArrayBuffer> {
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

/** A file that is one packed JSON document. */
export async function getPacked<T>(file: string): Promise<T> {
  const data = await (await fetched(file)).arrayBuffer();
  try {
    return JSON.parse(new TextDecoder().decode(await inflated(data))) as T;
  } catch {
    throw failed("The file is damaged.", file, "Publish the dataset again.");
  }
}

interface Wanted extends Part {
  done: (data: ArrayBuffer) => void;
  failed: (error: unknown) => void;
}

let waiting: Wanted[] = [];

/** Which parts come with one request: neighbours in one file. */
export function together<T extends Part>(parts: T[]): T[][] {
  const runs: T[][] = [];
  for (const part of [...parts].sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.offset - b.offset))) {
    const run = runs[runs.length - 1] ?? [];
    const [first, last] = [run[0], run[run.length - 1]];
    if (first && last && last.file === part.file && part.offset - (last.offset + last.size) <= GAP && part.offset + part.size - first.offset <= MOST) run.push(part);
    else runs.push([part]);
  }
  return runs;
}

async function fetchRun(run: Wanted[]): Promise<void> {
  const [first, last] = [run[0]!, run[run.length - 1]!];
  const end = last.offset + last.size;
  try {
    const answer = await fetched(first.file, `bytes=${first.offset}-${end - 1}`);
    if (answer.status !== 206) {
      void answer.body?.cancel();
      throw failed(
        "This host does not serve parts of files (HTTP ranges), but sends the whole.", first.file,
        "Publish the dataset on a host that answers Range requests: nginx, Apache, S3 and GitHub Pages do; python -m http.server does not.",
      );
    }
    const data = await answer.arrayBuffer();
    if (data.byteLength !== end - first.offset) throw failed("The host sent a part of another size.", first.file, "Reload the page.");
    for (const one of run) one.done(data.slice(one.offset - first.offset, one.offset - first.offset + one.size));
  } catch (error) {
    for (const one of run) one.failed(error);
  }
}

/** A part of a file, unpacked. */
export async function getPart(part: Part): Promise<ArrayBuffer> {
  const data = await new Promise<ArrayBuffer>((done, failed) => {
    if (!waiting.length) {
      setTimeout(() => {
        const all = waiting;
        waiting = [];
        for (const run of together(all)) void fetchRun(run);
      }, PATIENCE);
    }
    waiting.push({ ...part, done, failed });
  });
  return inflated(data);
}

/** Numbers that were packed byte by byte of all of them, put together again. */
export function unshuffled(data: ArrayBuffer, width: number): ArrayBuffer {
  if (width === 1) return data;
  const [from, to] = [new Uint8Array(data), new Uint8Array(data.byteLength)];
  const count = data.byteLength / width;
  for (let byte = 0; byte < width; byte++) for (let i = 0; i < count; i++) to[i * width + byte] = from[byte * count + i]!;
  return to.buffer;
}
