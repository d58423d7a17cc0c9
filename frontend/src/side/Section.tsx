import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

interface Props {
  id: string;
  title: string;
  count?: number | string | undefined;
  open?: boolean;
  /** Open whatever was chosen, as there is something to do in it. */
  forced?: boolean;
  children: ComponentChildren | (() => ComponentChildren);
}

const keyOf = (id: string) => `kymflow_zarr.section.${id}`;

function kept(id: string, otherwise: boolean): boolean {
  try {
    const value = localStorage.getItem(keyOf(id));
    return value === null ? otherwise : value === "open";
  } catch {
    return otherwise;
  }
}

/** A part of the panel that may be folded; what is in it is made once it is open. */
export function Section({ id, title, count, open = false, forced = false, children }: Props) {
  const [shown, setShown] = useState(() => kept(id, open));
  return (
    <details class="section" open={shown || forced} data-testid={`section-${id}`}
      onToggle={(event) => {
        const now = event.currentTarget.open;
        if (now === shown || forced) return;
        setShown(now);
        try {
          localStorage.setItem(keyOf(id), now ? "open" : "closed");
        } catch {
          // Then it is as usual the next time.
        }
      }}>
      <summary><h2>{title}</h2> {count !== undefined && <span class="pill">{count}</span>}</summary>
      {(shown || forced) && <div class="section-body">{typeof children === "function" ? children() : children}</div>}
    </details>
  );
}
