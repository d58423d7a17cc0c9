/** The keys that judge an image or lead to another one. None is lost: what is pressed while an image loads waits for it. */

import { useLayoutEffect } from "preact/hooks";
import { url } from "../api/client";
import type { AnyImage, Verdict } from "../api/types";
import { imagePath, navigate, params, route } from "../lib/router";
import { listenToKeys } from "../parts/keys";
import type { Curator } from "../side/curator";
import { advancing, setVerdict } from "../side/Judge";

interface Judged {
  peek: () => AnyImage;
  curator: Curator | null;
  /** Whether a letter means something else now. */
  isBlocked: () => boolean;
}

const VERDICTS: Record<string, Verdict> = { a: "accepted", r: "rejected", u: null };
const KEYS = [...Object.keys(VERDICTS), "[", "]"];
const waiting: string[] = [];
let shown: Judged | null = null;

// One listener for the life of the page: between two images there is no moment without.
listenToKeys((event) => {
  if (route.peek().page !== "image" || !KEYS.includes(event.key) || shown?.isBlocked()) return false;
  waiting.push(event.key);
  drain();
  return true;
});

function drain(): void {
  while (shown && waiting.length) {
    const key = waiting.shift()!;
    const info = shown.peek();
    const { curator } = shown;
    const to = key === "[" ? info.previous : key === "]" ? info.next : null;
    if (to) goTo(to);
    else if (curator && key in VERDICTS) {
      setVerdict(curator, VERDICTS[key]!);
      // The decision is on its way; should it fail, the next image tells.
      if (advancing.peek() && VERDICTS[key] && info.next) goTo(info.next);
    }
  }
}

/** Go to another image, to look at it in the same way; keys that follow are for that one. */
export function goTo(id: string): void {
  shown = null;
  const query = params.peek();
  navigate(url(imagePath(id), Object.fromEntries(["in", "map", "zoom", "events", "rois", "series"].map((name) => [name, query.get(name)]))));
}

/** Give up what was pressed for an image that cannot be shown. */
export function forgetKeys(): void {
  waiting.length = 0;
}

/** Let the keys act on an image while it is shown. */
export function useJudgeKeys(peek: () => AnyImage, curator: Curator | null, isBlocked: () => boolean): void {
  useLayoutEffect(() => {
    const mine = { peek, curator, isBlocked };
    shown = mine;
    drain();
    return () => {
      if (shown === mine) shown = null;
      if (route.peek().page !== "image") forgetKeys();
    };
  }, []);
}
