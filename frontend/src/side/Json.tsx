import { useState } from "preact/hooks";
import { number } from "../lib/format";

const MANY = 100;

/** Any JSON as a tree; long lists are shown in parts. */
export function Json({ value, name, depth = 0, open = depth < 1 }: { value: unknown; name?: string; depth?: number; open?: boolean }) {
  const [shown, setShown] = useState(open);
  const [most, setMost] = useState(MANY);
  const label = name !== undefined && <span class="json-name">{name}</span>;
  if (value === null || typeof value !== "object") return <div class="json-leaf">{label} <Leaf value={value} /></div>;
  const entries: [string, unknown][] = Array.isArray(value) ? value.map((one, i) => [String(i), one]) : Object.entries(value);
  if (entries.length === 0) return <div class="json-leaf">{label} <span class="dim">{Array.isArray(value) ? "[ ]" : "{ }"}</span></div>;
  if (Array.isArray(value) && value.length <= 12 && value.every((one) => one === null || typeof one === "number")) {
    return <div class="json-leaf">{label} <span class="json-number">{value.map((one) => (one === null ? "null" : number(one, 6))).join(", ")}</span></div>;
  }
  const inner = (
    <div class="json-inner">
      {entries.slice(0, most).map(([key, one]) => <Json key={key} name={key} value={one} depth={depth + 1} />)}
      {entries.length > most && (
        <button type="button" class="quiet" onClick={() => setMost(most + 10 * MANY)}>{entries.length - most} more</button>
      )}
    </div>
  );
  if (depth === 0 && name === undefined) return <div class="json">{inner}</div>;
  return (
    <details class="json-node" open={shown} onToggle={(e) => { e.stopPropagation(); setShown(e.currentTarget.open); }}>
      <summary>{label} <span class="dim">{Array.isArray(value) ? `${entries.length} entries` : `${entries.length} ${entries.length === 1 ? "key" : "keys"}`}</span></summary>
      {shown && inner}
    </details>
  );
}

function Leaf({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <span class="dim">null</span>;
  if (typeof value === "number") return <span class="json-number">{String(value)}</span>;
  if (typeof value === "boolean") return <span class="json-number">{String(value)}</span>;
  const text = String(value);
  return text.includes("\n") ? <pre class="json-text">{text}</pre> : <span class="json-string">{text === "" ? "“”" : text}</span>;
}
