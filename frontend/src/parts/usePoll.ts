import { useEffect } from "preact/hooks";

/** Look again and again while the page is seen, and at once when one comes back to it. */
export function usePoll(look: () => Promise<void>, every_ms: number): void {
  useEffect(() => {
    let timer = 0;
    let over = false;
    const next = async () => {
      clearTimeout(timer);
      // A poll reports no error: the next request of the user fails with the same one.
      if (document.visibilityState === "visible") await look().catch(() => undefined);
      if (!over) timer = window.setTimeout(next, every_ms);
    };
    timer = window.setTimeout(next, every_ms);
    document.addEventListener("visibilitychange", next);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", next);
    };
  }, []);
}
