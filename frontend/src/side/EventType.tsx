import { useState } from "preact/hooks";
import type { EventRow, EventsData } from "../api/types";
import type { Curator } from "./curator";

interface Props {
  curator: Curator;
  event: EventRow;
  data: EventsData;
  column: string;
  from: { kind: string; name: string };
}

/** Say of what type the selected event is. */
export function EventType({ curator, event, data, column, from }: Props) {
  const now = event[column] === null || event[column] === undefined ? "" : String(event[column]);
  const [typed, setTyped] = useState<string | null>(null);
  const value = typed ?? now;
  const save = async (submit: Event) => {
    submit.preventDefault();
    const wanted = value.trim() === "" ? null : value.trim();
    const done = await curator.apply(
      [{ kind: "event_type", artifact_kind: from.kind, name: from.name, row: event.row, value: wanted }],
      `event ${event.row + 1} is ${wanted ?? "of no type"}`,
    );
    if (done) setTyped(null);
  };
  return (
    <form class="inline-form" onSubmit={save}>
      {data.own_types.length > 0 && (
        <span class="own-types" role="group" aria-label="Types">
          {data.own_types.slice(0, 9).map((type, i) => (
            <button type="button" key={type} class="toggle" aria-pressed={now === type} disabled={curator.busy.value} data-testid="own-type"
              onClick={() => void curator.apply([{ kind: "event_type", artifact_kind: from.kind, name: from.name, row: event.row, value: type }], `event ${event.row + 1} is ${type}`)}>
              <kbd>{i + 1}</kbd> {type}
            </button>
          ))}
        </span>
      )}
      <label>
        <span>{column}</span>
        <input list="event-types" data-testid="event-type-input" value={value} onInput={(e) => setTyped(e.currentTarget.value)} />
      </label>
      <datalist id="event-types">{[...new Set([...data.own_types, ...data.types])].map((type) => <option key={type} value={type} />)}</datalist>
      <button type="submit" class="primary" data-testid="event-type-save" disabled={curator.busy.value || value.trim() === now}>Set</button>
    </form>
  );
}
