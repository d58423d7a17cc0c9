/** Changes to an image: each made on the revision that was looked at, none written over another's. */

import { signal } from "@preact/signals";
import { ApiError } from "../api/client";
import { getImage, postChange } from "../api/image";
import type { AnyImage, Change, HistoryEntry } from "../api/types";
import { dataset } from "../dataset";

export interface Conflict {
  what: string;
  /** The same again, on what is there now. */
  again: () => Promise<boolean>;
  /** What is there now and what was typed, one below the other; only of texts. */
  both?: (now: AnyImage) => Promise<boolean>;
  /** What others have done since. */
  others: HistoryEntry[];
}

/** Changes that failed after the page of their image was left. */
export const unwritten = signal<{ image_id: string; name: string; what: string; why: unknown }[]>([]);

// A browser may have storage switched off; a draft then lives as long as the page of its image.
function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key: string, text: string | null): void {
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // See above.
  }
}

export class Curator {
  readonly busy = signal(false);
  readonly error = signal<unknown>(null);
  readonly conflict = signal<Conflict | null>(null);
  /** What stands in the field of the note and is not yet saved; null: nothing. */
  readonly note = signal<string | null>(null);
  #left = false;
  #waiting = 0;
  #last: Promise<boolean> = Promise.resolve(true);

  constructor(
    readonly peek: () => AnyImage,
    readonly show: (info: AnyImage) => void,
  ) {
    // A draft outlives the page of its image, and a reload.
    const key = `kymflow-zarr note ${dataset.peek()?.dataset_id} ${peek().image_id}`;
    this.note.value = stored(key);
    this.note.subscribe((text) => store(key, text));
  }

  /** The page of the image is no longer shown: what cannot be written is told on the next one. */
  leave(): void {
    this.#left = true;
  }

  /** True once it is written. */
  apply(changes: Change[], what: string, both?: Conflict["both"]): Promise<boolean> {
    return this.#send("edit", (expect) => ({ expect, changes }), what, () => this.apply(changes, what, both), both);
  }

  undo(editId?: string): Promise<boolean> {
    const id = editId ?? lastUndoable(this.peek().curation.history)?.edit_id;
    if (!id) return Promise.resolve(false);
    return this.#send("undo", (expect) => ({ expect, edit_id: id }), "undo", () => this.undo(id));
  }

  /** One after the other; after one that failed, those that were asked for meanwhile are not sent. */
  #send(to: "edit" | "undo", body: (expect: string) => unknown, what: string, again: () => Promise<boolean>, both?: Conflict["both"]): Promise<boolean> {
    const before = this.#waiting++ ? this.#last : Promise.resolve(true);
    this.busy.value = true;
    this.#last = before.then(async (fine) => {
      const done = fine && (await this.#sent(to, body, what, again, both));
      if (!done && this.#left) {
        const why = this.conflict.peek() ? "it was changed meanwhile" : this.error.peek();
        unwritten.value = [...unwritten.peek(), { image_id: this.peek().image_id, name: this.peek().name, what, why }];
      }
      this.busy.value = --this.#waiting > 0;
      return done;
    });
    return this.#last;
  }

  async #sent(to: "edit" | "undo", body: (expect: string) => unknown, what: string, again: () => Promise<boolean>, both?: Conflict["both"]): Promise<boolean> {
    this.error.value = null;
    const before = this.peek();
    try {
      this.show(await postChange(before.image_id, to, body(before.revision)));
      this.conflict.value = null;
      return true;
    } catch (error) {
      if (!(error instanceof ApiError && error.isConflict)) {
        this.error.value = error;
        return false;
      }
      try {
        const now = await getImage(before.image_id);
        const known = new Set(before.curation.history.map((entry) => entry.edit_id));
        this.show(now);
        if (now.revision === before.revision) this.error.value = error;
        else this.conflict.value = { what, again, both, others: now.curation.history.filter((entry) => !known.has(entry.edit_id)) };
      } catch (failed) {
        this.error.value = failed;
      }
      return false;
    }
  }

  /** See whether somebody else has changed the image; what is typed here stays. */
  async look(): Promise<void> {
    if (this.busy.peek()) return;
    const before = this.peek();
    try {
      const now = await getImage(before.image_id);
      if (now.revision !== this.peek().revision && !this.busy.peek()) this.show(now);
    } catch {
      // It was only a look; the next request tells what is wrong.
    }
  }
}

/** The last edit that is no undo and is not undone. */
export function lastUndoable(history: readonly HistoryEntry[]): HistoryEntry | null {
  for (let i = history.length - 1; i >= 0; i--) {
    const entry = history[i]!;
    if (!entry.undoes && !entry.undone_by) return entry;
  }
  return null;
}

const quoted = (value: unknown) => (value === null || value === undefined || value === "" ? "nothing" : `“${String(value)}”`);

/** What an entry of the history did, in words. */
export function described(entry: HistoryEntry): string {
  const said = entry.changes.map((change) => {
    switch (change.what) {
      case "verdict":
        return change.after === null ? "undecided" : String(change.after);
      case "note":
        return change.after ? `note ${quoted(change.after)}` : "note removed";
      case "roi":
        return change.before === null ? `ROI ${change.roi_id} drawn` : change.after === null ? `ROI ${change.roi_id} removed` : `ROI ${change.roi_id} changed`;
      case "event_type":
        return `event ${(change.row ?? 0) + 1}: ${quoted(change.before)} → ${quoted(change.after)}`;
      case "event":
        return change.before === null ? "an event added" : change.after === null ? "an event removed" : "an event changed";
      default:
        return change.what;
    }
  });
  const text = said.join(", ") || "nothing";
  return entry.undoes ? `undo: ${text}` : text;
}
