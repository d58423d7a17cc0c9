import { useEffect } from "preact/hooks";

/** Whether somebody is typing, so that a letter is a letter. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "range", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Listen to single keys. Return true: the key was ours. */
export function listenToKeys(handle: (event: KeyboardEvent) => boolean | void): () => void {
  const listen = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (handle(event)) event.preventDefault();
  };
  document.addEventListener("keydown", listen);
  return () => document.removeEventListener("keydown", listen);
}

/** Listen to single keys while a part of the page is there. */
export function useKeys(handle: (event: KeyboardEvent) => boolean | void, deps: unknown[] = []): void {
  useEffect(() => listenToKeys(handle), deps);
}
