import { useEffect } from "preact/hooks";
import { type Changes, changeStream, getChanges } from "../api/client";

/**
 * Tell `got` what the list, and an image, are whenever they change, while the page is seen: the server sends it. Ask
 * again and again where it does not, as it has too many pages open or a proxy holds its stream back.
 */
export function useChanges(image: string | undefined, got: (now: Changes) => Promise<void> | void, every_ms: number): void {
  useEffect(() => {
    let timer = 0;
    let over = false;
    let stream: EventSource | null = null;
    let heard = false;
    const close = () => {
      stream?.close();
      stream = null;
      heard = false;
    };
    const open = () => {
      stream = changeStream(image);
      if (!stream) return;
      stream.onmessage = (event) => {
        heard = true;
        void Promise.resolve(got(JSON.parse(event.data) as Changes)).catch(() => undefined);
      };
      // The browser opens it again by itself, unless it was refused.
      stream.onerror = () => { heard = false; };
    };
    const next = async () => {
      clearTimeout(timer);
      // A look reports no error: the next request of the user fails with the same one.
      if (document.visibilityState === "visible" && !heard) await getChanges(image).then(got).catch(() => undefined);
      if (!over) timer = window.setTimeout(next, every_ms);
    };
    const turn = () => {
      // A browser has few connections to one server, for all its tabs: a hidden page holds none.
      close();
      if (document.visibilityState !== "visible") return;
      open();
      void next();
    };
    open();
    timer = window.setTimeout(next, every_ms);
    document.addEventListener("visibilitychange", turn);
    return () => {
      over = true;
      close();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", turn);
    };
  }, []);
}
