import { useEffect, useRef } from "preact/hooks";
import type { EventsData, ImageInfo } from "../../api/types";
import { number } from "../../lib/format";
import { joinKey } from "../../lib/query";
import { setQuery } from "../../lib/router";
import { eventColor } from "../../lib/theme";
import { ErrorBox } from "../../parts/ErrorBox";
import type { Loaded } from "../../parts/useLoad";
import type { Curator } from "../../side/curator";
import { EventType } from "../../side/EventType";
import type { HandEvents } from "./handevents";
import type { PlacedEvent, Stage } from "../stage";

interface Props {
  stage: Stage;
  info: ImageInfo;
  chosen: { kind: string; name: string } | null;
  loaded: Loaded<EventsData>;
  types: string[];
  hand: HandEvents | null;
  curator: Curator | null;
}

const MOST = 400;

export function EventList({ stage, info, chosen, loaded, types, hand, curator }: Props) {
  const list = useRef<HTMLDivElement>(null);
  const events = stage.events.value;
  const selected = stage.event.value;
  const data = loaded.data;
  const at = events.findIndex((one) => one.data.row === selected);
  useEffect(() => {
    list.current?.querySelector(".selected")?.scrollIntoView({ block: "nearest" });
  }, [selected, events.length]);
  // Of very many those around the one selected.
  const first = Math.max(0, Math.min(at - MOST / 2, events.length - MOST));
  const shown = events.slice(first, first + MOST);
  const typed = data?.type_column;
  return (
    <>
      <div class="section-tools">
        {info.events.length > 1 && (
          <select aria-label="Which events" data-testid="events-select" value={chosen ? joinKey(chosen.kind, chosen.name) : ""}
            onChange={(e) => { stage.event.value = null; setQuery({ from: e.currentTarget.value }); }}>
            {info.events.map((one) => <option key={one.name} value={joinKey(one.kind, one.name)}>{one.name}</option>)}
          </select>
        )}
        <button type="button" data-testid="event-previous" disabled={!events.length} title="Previous (p)" onClick={() => stage.step(-1)}>Previous</button>
        <button type="button" data-testid="event-next" disabled={!events.length} title="Next (n)" onClick={() => stage.step(1)}>Next</button>
        <span class="dim">{at >= 0 ? `event ${selected! + 1}, in time ${at + 1} of ${events.length}` : `${events.length}`}</span>
      </div>
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {events.length > 0 && (
        <div class="event-list" ref={list} role="listbox" aria-label="Events" tabIndex={0} data-testid="event-list"
          onKeyDown={(e) => {
            const by = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
            if (by) { e.preventDefault(); stage.step(by); }
          }}>
          {shown.map((event) => {
            const said = typed && typed !== "event_type" ? event.data[typed] : null;
            return (
              <div key={event.data.row} role="option" aria-selected={event.data.row === selected} data-testid="event-row" data-row={event.data.row}
                class={event.data.row === selected ? "event-row selected" : "event-row"} onClick={() => stage.goTo(event)}>
                <span class="swatch" style={{ background: eventColor(types.indexOf(event.type)) }} />
                <span class="event-type"><span class="dim">{event.data.row + 1}</span> {event.type}</span>
                <span class="num">{event.start === null ? "–" : `${number(event.start, 4)}${event.end === null ? "" : `–${number(event.end, 4)}`} s`}</span>
                <span class="dim event-said">{[event.data.roi_id != null && `ROI ${event.data.roi_id}`, said].filter(Boolean).join(" · ")}</span>
              </div>
            );
          })}
        </div>
      )}
      {!loaded.loading && !loaded.error && events.length === 0 && <p class="dim">None were found.</p>}
      {at >= 0 && data && chosen && curator && typed && (
        <EventType key={selected} curator={curator} event={events[at]!.data} data={data} column={typed} from={chosen} />
      )}
      {at >= 0 && hand && <EventTimes key={`${selected} ${events[at]!.start} ${events[at]!.end}`} event={events[at]!} hand={hand} busy={curator!.busy.value} />}
      {at >= 0 && data && <EventFacts event={events[at]!.data} columns={data.columns} />}
    </>
  );
}

/** When the chosen event is; to be removed too. */
function EventTimes({ event, hand, busy }: { event: PlacedEvent; hand: HandEvents; busy: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  const time = (name: string, value: number | null) => (
    <label><span>{name} (s)</span><input name={name} type="number" step="any" data-testid={`event-${name}`} defaultValue={value === null ? "" : String(value)} /></label>
  );
  const save = (submit: Event) => {
    submit.preventDefault();
    const values = new FormData(form.current!);
    const seconds = (name: string) => (values.get(name) === "" ? null : Number(values.get(name)));
    hand.set(event.data.row, { t_start_s: seconds("start"), t_end_s: seconds("end") });
  };
  return (
    <form class="inline-form" ref={form} onSubmit={save}>
      {time("start", event.start)}{time("end", event.end)}
      <button type="submit" class="primary" data-testid="event-times-save" disabled={busy}>Set</button>
      <button type="button" data-testid="event-remove" disabled={busy} title="Remove (x)" onClick={() => hand.remove(event.data.row)}>Remove</button>
    </form>
  );
}

function EventFacts({ event, columns }: { event: Record<string, unknown>; columns: string[] }) {
  const told = columns.filter((name) => event[name] !== null && event[name] !== undefined && event[name] !== "");
  return (
    <dl class="facts small" data-testid="event-facts">
      {told.map((name) => (
        <div key={name}><dt>{name}</dt><dd>{typeof event[name] === "number" ? number(event[name], 5) : String(event[name])}</dd></div>
      ))}
    </dl>
  );
}
