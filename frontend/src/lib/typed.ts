import { useEffect, useRef, useState } from "preact/hooks";
import { params } from "./router";

/** The text of a search field, which asks when its user pauses; `q` is the one in the address. */
export function useTyped(q: string, pause: number, ask: (text: string) => void): [string, (text: string) => void] {
  const [typed, setTyped] = useState(q);
  const asked = useRef(q);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    // What the field asked for itself comes back when more may have been typed: only what others
    // put into the address, as the way back does, is taken over.
    const now = params.peek().get("q") ?? "";
    if (now === asked.current) return;
    asked.current = now;
    setTyped(now);
  }, [q]);
  const type = (text: string) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      asked.current = text;
      ask(text);
    }, pause);
  };
  return [typed, type];
}
