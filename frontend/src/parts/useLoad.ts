import { useCallback, useEffect, useState } from "preact/hooks";
import { isAbort } from "../api/client";

export interface Loaded<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/** Ask for something whenever `key` changes; what was asked for before is given up. null: nothing. */
export function useLoad<T>(key: string | null, load: (key: string, signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ key: string | null; data: T | null; error: unknown; done: boolean }>({
    key: null, data: null, error: null, done: false,
  });
  const [again, setAgain] = useState(0);
  const reload = useCallback(() => setAgain((n) => n + 1), []);
  useEffect(() => {
    if (key === null) {
      setState({ key, data: null, error: null, done: true });
      return;
    }
    const abort = new AbortController();
    // What was there stays until the new answer is, so that nothing flickers.
    setState((old) => ({ ...old, error: null, done: false }));
    load(key, abort.signal).then(
      (data) => !abort.signal.aborted && setState({ key, data, error: null, done: true }),
      (error) => {
        if (!abort.signal.aborted && !isAbort(error)) setState({ key, data: null, error, done: true });
      },
    );
    return () => abort.abort();
  }, [key, again]);
  return { data: state.data, error: state.error, loading: !state.done || state.key !== key, reload };
}
