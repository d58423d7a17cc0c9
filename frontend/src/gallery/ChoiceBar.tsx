import type { Verdict } from "../api/types";
import { count } from "../lib/format";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { comparePath } from "../image/ComparePage";
import { sheetPath } from "../sheet/SheetPage";
import { ThenNext } from "../side/Judge";
import type { Choice } from "./choice";

const WORDS: [Verdict, string, string][] = [["accepted", "Accept", "a"], ["rejected", "Reject", "r"], [null, "Undecided", "u"]];

/** How many images are chosen, and what can be done with them. */
export function ChoiceBar({ choice, total, list, blind }: { choice: Choice; total: number; list: string; blind: boolean }) {
  const chosen = choice.images.value;
  const refused = choice.refused.value;
  const done = choice.done.value;
  const some = chosen.size > 0;
  return (
    <section class="choice-bar" aria-label="Chosen images" data-testid="choice-bar" data-chosen={chosen.size} data-busy={choice.busy.value}>
      <span>{some ? `${count(chosen.size)} chosen` : "Choose images to judge them at once"}</span>
      <button type="button" data-testid="choose-all" disabled={!total} title="All of this list (Ctrl A)" onClick={() => void choice.span(0, total - 1)}>All {count(total)}</button>
      <ThenNext />
      {!blind && <a href={sheetPath(list)} data-testid="to-sheet">Metadata sheet</a>}
      {some && <button type="button" data-testid="choose-none" title="Esc" onClick={() => choice.clear()}>None</button>}
      {some && WORDS.map(([verdict, word, key]) => (
        <button type="button" key={word} data-testid={`judge-${verdict ?? "undecided"}`} title={`${word} (${key})`} onClick={() => choice.judge(chosen, verdict)}>
          {verdict && <Icon name={verdict === "accepted" ? "check" : "x"} />} {word}
        </button>
      ))}
      {chosen.size === 2 && <a href={comparePath(...([...chosen.keys()] as [string, string]), list)} data-testid="compare">Side by side</a>}
      {done && <button type="button" data-testid="judge-undo" title={`Undo: ${done.what} (z)`} onClick={() => choice.undo()}><Icon name="undo" /> Undo</button>}
      <span class="dim" role="status" data-testid="choice-told">{choice.told.value}</span>
      <ErrorBox error={choice.error.value} />
      {refused && (
        <button type="button" class="primary" data-testid="judge-anyway" onClick={() => choice.judge(refused.images, refused.verdict, true)}>Judge them all the same</button>
      )}
    </section>
  );
}
