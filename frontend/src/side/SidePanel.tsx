import { dataset } from "../dataset";
import type { EventsData, ImageInfo } from "../api/types";
import { EventList } from "../image/events/EventList";
import { hasSeconds } from "../image/events/events";
import type { HandEvents } from "../image/events/handevents";
import type { Stage } from "../image/stage";
import type { Loaded } from "../parts/useLoad";
import { Downloads, Facts, InTables, Metadata } from "./About";
import { Artifacts } from "./Artifacts";
import type { Curator } from "./curator";
import { Json } from "./Json";
import { History, Note } from "./Judge";
import { Results } from "./Results";
import { RoiList } from "./RoiList";
import { Section } from "./Section";

interface Props {
  stage: Stage;
  info: ImageInfo;
  curator: Curator | null;
  events: { chosen: { kind: string; name: string } | null; loaded: Loaded<EventsData>; types: string[]; hand: HandEvents | null };
}

export function SidePanel({ stage, info, curator, events }: Props) {
  const { note, history } = info.curation;
  return (
    <aside class="side" aria-label="About this image">
      {(curator || note || history.length > 0) && (
        <Section id="judge" title="Judgement" count={history.length || undefined} open>
          {curator ? <Note curator={curator} info={info} /> : note && <p class="note-text" data-testid="note-text">{note}</p>}
          <History curator={curator} info={info} />
        </Section>
      )}
      {(info.events.length > 0 || (curator && hasSeconds(info))) && (
        <Section id="events" title="Events" count={stage.events.value.length} open>
          <EventList stage={stage} info={info} chosen={events.chosen} loaded={events.loaded} types={events.types} hand={events.hand} curator={curator} />
        </Section>
      )}
      <Section id="rois" title="Regions" count={info.rois.length} open forced={stage.draft.value !== null}>
        <RoiList stage={stage} info={info} curator={curator} />
      </Section>
      <Section id="facts" title="Image" open><Facts info={info} /></Section>
      {!dataset.value?.blind && (
        <>
          <Section id="metadata" title="Metadata"><Metadata info={info} /></Section>
          <Section id="provenance" title="Provenance">
            {info.provenance ? <Json value={info.provenance} /> : <p class="dim">Nothing is known.</p>}
            {hasAny(info.source_files) && <Json value={info.source_files} name="source files" depth={1} />}
          </Section>
          {info.results.length > 0 && (
            <Section id="results" title="Results" count={info.results.length}><Results info={info} results={info.results} /></Section>
          )}
          <Section id="artifacts" title="Artifacts" count={info.artifacts.length}><Artifacts info={info} /></Section>
          <Section id="tables" title="In tables" count={info.tables.filter((table) => table.n_rows > 0).length}><InTables info={info} /></Section>
          <Section id="downloads" title="Download" open><Downloads info={info} stage={stage} /></Section>
        </>
      )}
    </aside>
  );
}

const hasAny = (value: unknown) => Boolean(value) && (typeof value !== "object" || Object.keys(value as object).length > 0);
