import { signal } from "@preact/signals";
import type { AnyImage, Verdict } from "../api/types";
import { when } from "../lib/format";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { imagePath } from "../lib/router";
import { described, lastUndoable, unwritten, type Curator } from "./curator";

const WORDS: [Verdict, string, string][] = [
  ["accepted", "Accept", "a"], ["rejected", "Reject", "r"], [null, "Undecided", "u"],
];

/** Sent even where it seems to be so already: somebody else may have changed it. */
export const setVerdict = (curator: Curator, value: Verdict) =>
  void curator.apply([{ kind: "verdict", value }], `the verdict “${value ?? "undecided"}”`);

/** Whether a verdict by key leads on to the next image. */
export const advancing = signal(false);

export function ThenNext() {
  return (
    <button type="button" class="toggle" aria-pressed={advancing.value} data-testid="advance" title="A verdict by key (a, r) leads on to the next image"
      onClick={() => (advancing.value = !advancing.peek())}>then next</button>
  );
}

/** The three verdicts as buttons. */
export function VerdictButtons({ curator, verdict }: { curator: Curator; verdict: Verdict }) {
  return (
    <span class="switch verdicts" role="group" aria-label="Verdict" data-testid="verdict" data-verdict={verdict ?? ""}>
      {WORDS.map(([value, word, key]) => (
        <button type="button" key={word} class={`toggle ${value ?? "undecided"}`} aria-pressed={verdict === value} disabled={curator.busy.value}
          data-testid={`verdict-${value === "accepted" ? "accept" : value === "rejected" ? "reject" : "undecided"}`}
          title={`${word} (${key})`} onClick={() => setVerdict(curator, value)}>
          {value && <Icon name={value === "accepted" ? "check" : "x"} />} {word}
        </button>
      ))}
      <ThenNext />
    </span>
  );
}

/** What came in between, and what one wanted to write. */
export function ConflictBar({ curator }: { curator: Curator }) {
  const conflict = curator.conflict.value;
  const error = curator.error.value;
  return (
    <>
      {conflict && (
        <div class="conflict" role="alert" data-testid="conflict">
          <p>
            <b>Somebody else has changed this image.</b> You now see what is there
            {conflict.others.length > 0 && (
              <> ({conflict.others.map((entry) => `${entry.who}, ${when(entry.when_utc)}: ${described(entry)}`).join("; ")})</>
            )}. Your change was not written: {conflict.what}.
          </p>
          <button type="button" class="primary" data-testid="conflict-apply" disabled={curator.busy.value} onClick={() => void conflict.again()}>Write mine too</button>
          {conflict.both && (
            <button type="button" data-testid="conflict-both" disabled={curator.busy.value} onClick={() => void conflict.both!(curator.peek())}>Keep both texts</button>
          )}
          <button type="button" data-testid="conflict-drop" onClick={() => (curator.conflict.value = null)}>Leave it</button>
        </div>
      )}
      {Boolean(error) && (
        <div class="edit-error">
          <ErrorBox error={error} />
          <button type="button" onClick={() => (curator.error.value = null)}>Close</button>
        </div>
      )}
    </>
  );
}

/** What could not be written to images that were left meanwhile. */
export function Unwritten() {
  if (!unwritten.value.length) return null;
  return (
    <div class="conflict" role="alert" data-testid="unwritten">
      {unwritten.value.map(({ image_id, name, what, why }, i) => (
        <div key={i}>
          <b>Not written:</b> {what} of <a href={imagePath(image_id)}>{name}</a>. <ErrorBox error={why} />
        </div>
      ))}
      <button type="button" onClick={() => (unwritten.value = [])}>Close</button>
    </div>
  );
}

export function Note({ curator, info }: { curator: Curator; info: AnyImage }) {
  const draft = curator.note.value;
  const value = draft ?? info.curation.note;
  const changed = draft !== null && draft !== info.curation.note;
  const save = async () => {
    if (!changed) return;
    const text = draft;
    const write = async (value: string): Promise<boolean> => {
      const done = await curator.apply([{ kind: "note", value }], `the note “${text}”`, (now) => write([now.curation.note, text].filter(Boolean).join("\n")));
      // What was typed on meanwhile stays.
      if (done && curator.note.peek() === text) curator.note.value = null;
      return done;
    };
    await write(text);
  };
  return (
    <form class="note" onSubmit={(e) => { e.preventDefault(); void save(); }}>
      <label>
        <span>Note</span>
        <textarea rows={3} data-testid="note-input" value={value} onInput={(e) => (curator.note.value = e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); void save(); }
          }} />
      </label>
      <div class="section-tools">
        <button type="submit" class="primary" data-testid="note-save" disabled={!changed || curator.busy.value}>Save note</button>
        {changed && <button type="button" onClick={() => (curator.note.value = null)}>Discard</button>}
        {changed && info.curation.note && <span class="dim">Saved: {info.curation.note}</span>}
      </div>
    </form>
  );
}

export function History({ curator, info }: { curator: Curator | null; info: AnyImage }) {
  const { history } = info.curation;
  const last = lastUndoable(history);
  if (!history.length) return <p class="dim">Nothing has been changed yet.</p>;
  return (
    <>
      {curator && (
        <div class="section-tools">
          <button type="button" data-testid="undo" disabled={!last || curator.busy.value} onClick={() => void curator.undo()}>
            <Icon name="undo" /> Undo{last ? `: ${described(last)}` : ""}
          </button>
        </div>
      )}
      <ol class="history" data-testid="history" reversed>
        {[...history].reverse().map((entry) => (
          <li key={entry.edit_id} class={entry.undone_by ? "undone" : ""} data-testid="history-row">
            <span>{described(entry)}</span>
            <span class="dim">{entry.who}, {when(entry.when_utc)} UTC{entry.undone_by ? ", undone" : ""}</span>
          </li>
        ))}
      </ol>
    </>
  );
}
