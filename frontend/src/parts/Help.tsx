import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { publishedList } from "../published/place";

export const helpOpen = signal(false);

const KEYS: [string, [string, string][]][] = [
  ["Everywhere", [
    ["?", "this help"],
    ["/", "to the search"],
    ["g", "to the gallery"],
    ["t", "light or dark"],
    ["Esc", "close, or let go of what is selected"],
  ]],
  ["Gallery", [
    ["← ↑ → ↓", "from image to image"],
    ["Enter", "open the image"],
    ["space", "choose it; with Shift the arrows and clicks choose all between"],
    ["Ctrl A  Esc", "choose all of the list, or none"],
    ["a  r  u", "accept, reject, undecided: the chosen images, or the one with the focus"],
    ["z", "undo what was judged here last"],
  ]],
  ["Image", [
    ["wheel", "zoom at the mouse; with Shift along the other axis"],
    ["drag", "move; a double click shows all of it"],
    ["+ − 0", "nearer, farther, all of it"],
    ["← ↑ → ↓", "move, while the image has the focus"],
    ["n  p", "next and previous event (or j and k)"],
    ["[  ]", "previous and next image"],
    ["e", "events on the image or not"],
    ["o", "regions on the image or not"],
  ]],
  ["Judging (with --edit)", [
    ["a  r  u", "accept, reject, undecided"],
    ["i  x", "add an event at the mouse, remove the chosen one"],
    ["1 … 9", "its type, as numbered in the list of events"],
    ["d", "draw a rectangle; Enter puts one in the middle of the view"],
  ]],
];

export function Help() {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (helpOpen.value && !dialog.open) dialog.showModal();
    if (!helpOpen.value && dialog.open) dialog.close();
  }, [helpOpen.value]);
  return (
    <dialog ref={ref} class="help" aria-labelledby="help-title" data-testid="help" onClose={() => (helpOpen.value = false)}
      onClick={(event) => event.target === ref.current && (helpOpen.value = false)}>
      <div class="help-inner">
        <h2 id="help-title">Keys</h2>
        <div class="help-columns">
          {KEYS.filter(([title]) => publishedList === null || !title.startsWith("Judging")).map(([title, rows]) => (
            <section key={title}>
              <h3>{title}</h3>
              <dl>
                {rows.map(([keys, what]) => (
                  <div key={keys}>
                    <dt><kbd>{keys}</kbd></dt>
                    <dd>{what}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </div>
        <button type="button" class="primary" onClick={() => (helpOpen.value = false)}>Close</button>
      </div>
    </dialog>
  );
}
