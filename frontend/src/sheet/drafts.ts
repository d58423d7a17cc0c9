/** What was typed into the sheet and is not written yet. It outlives the page, and a reload in this tab. */

import { signal } from "@preact/signals";

export interface Draft {
  text: string;
  /** The value that was shown when it was typed: whoever changed it since is not written over unseen. */
  seen: unknown;
  /** Why it was refused. */
  reason?: string;
}

/** By image, then by field. */
export type Drafts = Record<string, Record<string, Draft>>;

export const textOf = (value: unknown): string =>
  value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);

export class DraftStore {
  readonly all = signal<Drafts>({});
  #key: string;

  constructor(dataset: string) {
    this.#key = `sheet ${dataset}`;
    try {
      this.all.value = JSON.parse(sessionStorage.getItem(this.#key) ?? "{}") as Drafts;
    } catch {
      // A browser that keeps nothing.
    }
  }

  set(cells: { image: string; field: string; text: string; shown: unknown }[]): void {
    const next = { ...this.all.peek() };
    for (const { image, field, text, shown } of cells) {
      const row = { ...next[image] };
      if (text.trim() === textOf(shown)) delete row[field];
      else row[field] = { text, seen: row[field] && !row[field].reason ? row[field].seen : shown };
      if (Object.keys(row).length) next[image] = row;
      else delete next[image];
    }
    this.#keep(next);
  }

  /** After an answer: what was written is no draft any more, what was refused says why. */
  sent(sent: Drafts, refused: { image_id: string | null; column: string; reason: string }[]): void {
    const next = { ...this.all.peek() };
    for (const [image, fields] of Object.entries(sent)) {
      const row = { ...next[image] };
      for (const [field, draft] of Object.entries(fields)) {
        const why = refused.find((cell) => cell.image_id === image && cell.column === field);
        // Typed again while the answer was on its way.
        if (row[field]?.text !== draft.text) continue;
        if (why) row[field] = { ...draft, reason: why.reason };
        else delete row[field];
      }
      if (Object.keys(row).length) next[image] = row;
      else delete next[image];
    }
    this.#keep(next);
  }

  clear(): void {
    this.#keep({});
  }

  #keep(next: Drafts): void {
    this.all.value = next;
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(next));
    } catch {
      // A browser that keeps nothing: the drafts last as long as the page.
    }
  }
}
