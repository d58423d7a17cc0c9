import { useSignal, useSignalEffect } from "@preact/signals";
import { inFlight } from "../api/client";

/** That something is on its way, unless it comes at once. */
export function Busy() {
  const shown = useSignal(false);
  useSignalEffect(() => {
    if (!inFlight.value) { shown.value = false; return; }
    const timer = setTimeout(() => (shown.value = true), 200);
    return () => clearTimeout(timer);
  });
  return <div class={shown.value ? "busy on" : "busy"} role="status" data-testid="busy">{shown.value && <span class="unseen">Loading…</span>}</div>;
}
