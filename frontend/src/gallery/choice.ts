/** Images of the gallery that are chosen, and judged at once: one commit, and one undo. */

import { batch, signal } from "@preact/signals";
import { ApiError, postJson } from "../api/client";
import type { Verdict } from "../api/types";
import { plural } from "../lib/format";
import type { RowStore } from "./rows";

interface Done {
  edit_id: string;
  /** The verdicts before. */
  before: ReadonlyMap<string, Verdict>;
  what: string;
}

const word = (verdict: Verdict) => verdict ?? "undecided";

export class Choice {
  /** The verdict that each chosen image had when it was chosen. */
  readonly images = signal<ReadonlyMap<string, Verdict>>(new Map());
  readonly busy = signal(false);
  readonly error = signal<unknown>(null);
  /** What was refused, as somebody else had judged some of the images. */
  readonly refused = signal<{ images: Map<string, Verdict>; verdict: Verdict } | null>(null);
  readonly done = signal<Done | null>(null);
  readonly told = signal("");
  #earlier: Done[] = [];
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(private readonly store: RowStore) {}

  toggle(id: string, verdict: Verdict): void {
    const next = new Map(this.images.peek());
    if (!next.delete(id)) next.set(id, verdict);
    this.images.value = next;
  }

  /** Choose the rows from `first` to `last`, beside those that are chosen. */
  async span(first: number, last: number): Promise<void> {
    try {
      const rows = await this.store.span(Math.min(first, last), Math.max(first, last));
      this.images.value = new Map([...this.images.peek(), ...rows]);
    } catch (error) {
      this.error.value = error;
    }
  }

  clear(): void {
    batch(() => {
      this.images.value = new Map();
      this.error.value = null;
      this.refused.value = null;
      this.told.value = "";
    });
  }

  /** Judge the images; one request after the other, however fast they are asked for. */
  judge(images: ReadonlyMap<string, Verdict>, verdict: Verdict, whatever = false): void {
    const chosen = new Map(images);
    this.#send(async () => {
      // What was decided here meanwhile has been seen.
      const before = new Map([...chosen].map(([id, then]) => [id, this.store.verdictOf(id) === undefined ? then : this.store.verdictOf(id)!]));
      const seen = Object.fromEntries(before);
      const ids = [...chosen.keys()];
      try {
        const { edit_id } = await postJson<{ edit_id: string | null }>("/api/judge", { ids, verdict, ...(whatever ? {} : { seen }) });
        if (edit_id) this.#did({ edit_id, before, what: `${plural(ids.length, "image")} ${word(verdict)}` });
        this.#shows(new Map(ids.map((id) => [id, verdict])));
      } catch (error) {
        if (error instanceof ApiError && error.isConflict) this.refused.value = { images: chosen, verdict };
        this.store.refresh();
        throw error;
      }
    });
  }

  /** Undo what was asked for last, which may be on its way still. */
  undo(): void {
    this.#send(async () => {
      const last = this.done.peek();
      if (!last) return;
      try {
        await postJson("/api/judge/undo", { edit_id: last.edit_id, ids: [...last.before.keys()] });
        this.#shows(last.before);
        this.done.value = this.#earlier.pop() ?? null;
        this.told.value = `Undone: ${last.what}`;
      } finally {
        this.store.refresh();
      }
    });
  }

  #did(done: Done): void {
    const before = this.done.peek();
    if (before) this.#earlier.push(before);
    this.done.value = done;
    this.told.value = done.what;
  }

  #shows(verdicts: ReadonlyMap<string, Verdict>): void {
    this.store.judged(verdicts);
    this.images.value = new Map([...this.images.peek()].map(([id, old]) => [id, verdicts.get(id) === undefined ? old : verdicts.get(id)!]));
  }

  #send(request: () => Promise<void>): void {
    this.#waiting += 1;
    this.busy.value = true;
    this.#last = this.#last.then(async () => {
      this.error.value = null;
      this.refused.value = null;
      await request().catch((error) => (this.error.value = error));
      this.busy.value = --this.#waiting > 0;
    });
  }
}
