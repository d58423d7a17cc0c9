/** The rows of the gallery, fetched in pages as they come into view. */

import { signal } from "@preact/signals";
import { getJson, isAbort, url } from "../api/client";
import type { ImageRow, Rows, Verdict } from "../api/types";

export const PAGE = 100;

export interface Question {
  q: string;
  sort: string;
  descending: boolean;
  where: string[];
}

export class RowStore {
  /** null until the first answer is there. */
  readonly total = signal<number | null>(null);
  readonly error = signal<unknown>(null);
  /** Goes up whenever rows have come. */
  readonly version = signal(0);
  readonly loading = signal(false);

  #pages = new Map<number, ImageRow[]>();
  #asked = new Map<number, AbortController>();
  #question: Question | null = null;
  #key = "";
  /** Pages that are shown until they have come again. */
  #old = new Set<number>();
  #refreshes = 0;

  /** Ask again; what is shown stays until the answer is there. */
  ask(question: Question): void {
    const key = JSON.stringify(question);
    if (key === this.#key) return;
    this.#key = key;
    this.#question = question;
    for (const abort of this.#asked.values()) abort.abort();
    this.#asked.clear();
    this.#fetch(0, true);
  }

  /** Something may have changed: what is in view is asked for again. */
  refresh(): void {
    this.#refreshes += 1;
    this.#old = new Set(this.#pages.keys());
    this.version.value += 1;
  }

  again(): void {
    const question = this.#question;
    this.#key = "";
    if (question) this.ask(question);
  }

  row(index: number): ImageRow | undefined {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** What was just decided shows before the list is asked for again. */
  judged(verdicts: ReadonlyMap<string, Verdict>): void {
    for (const rows of this.#pages.values()) {
      for (const row of rows) if (verdicts.has(row.image_id)) row.verdict = verdicts.get(row.image_id)!;
    }
    this.refresh();
  }

  /** Id and verdict of the rows from `first` to `last`, asked for where they are not here. */
  async span(first: number, last: number): Promise<[string, Verdict][]> {
    const here = [];
    for (let i = first; i <= last; i++) here.push(this.row(i));
    const question = this.#question!;
    const rows = here.every((row) => row !== undefined) ? here as ImageRow[] : (await getJson<Rows<ImageRow>>(
      url("/api/ids", {
        q: question.q, sort: question.sort, descending: question.descending || null,
        where: question.where, offset: first || null, limit: last - first + 1,
      }))).rows;
    return rows.map((row) => [row.image_id, row.verdict ?? null]);
  }

  /** The verdict that is shown of an image, if its row is here. */
  verdictOf(id: string): Verdict | undefined {
    for (const rows of this.#pages.values()) {
      const row = rows.find((one) => one.image_id === id);
      if (row) return row.verdict ?? null;
    }
    return undefined;
  }

  /** See that the rows from `first` to `last` come; give up pages that are far away. */
  want(first: number, last: number): void {
    // After an error somebody says when to try again.
    if (this.error.peek()) return;
    const [from, to] = [Math.floor(first / PAGE), Math.floor(last / PAGE)];
    for (const [page, abort] of this.#asked) {
      if (page < from - 1 || page > to + 1) {
        abort.abort();
        this.#asked.delete(page);
      }
    }
    for (let page = from; page <= to; page++) {
      if ((!this.#pages.has(page) || this.#old.has(page)) && !this.#asked.has(page)) this.#fetch(page, false);
    }
  }

  #fetch(page: number, fresh: boolean): void {
    const question = this.#question;
    if (!question) return;
    const abort = new AbortController();
    const refreshes = this.#refreshes;
    this.#asked.set(page, abort);
    this.loading.value = true;
    getJson<Rows<ImageRow>>(
      url("/api/images", {
        q: question.q, sort: question.sort, descending: question.descending || null,
        where: question.where, offset: page * PAGE || null, limit: PAGE,
      }),
      abort.signal,
    ).then(
      (answer) => {
        if (abort.signal.aborted) return;
        const late = refreshes !== this.#refreshes;
        // Asked before something changed: what is shown is newer, and the page is asked for again.
        if (fresh || !late || !this.#pages.has(page)) {
          if (fresh) this.#pages.clear();
          this.#pages.set(page, answer.rows);
          this.total.value = answer.total;
        }
        if (late) this.#old.add(page);
        else this.#old.delete(page);
        this.error.value = null;
        this.#done(page, abort);
      },
      (error) => {
        if (abort.signal.aborted || isAbort(error)) return;
        this.error.value = error;
        this.#done(page, abort);
      },
    );
  }

  #done(page: number, abort: AbortController): void {
    if (this.#asked.get(page) === abort) this.#asked.delete(page);
    this.loading.value = this.#asked.size > 0;
    this.version.value += 1;
  }
}
