import { useComputed } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { getJson, imageUrl } from "../api/client";
import { canBeDrawn, getImage } from "../api/image";
import type { DatasetInfo, EventsData, Histogram, ImageInfo, SeriesData } from "../api/types";
import { formatAt, joinKey } from "../lib/query";
import { params, route, shownName } from "../lib/router";
import { ErrorBox } from "../parts/ErrorBox";
import { useKeys } from "../parts/keys";
import { useChanges } from "../parts/useChanges";
import { useLoad } from "../parts/useLoad";
import { VerdictBadge } from "../parts/VerdictBadge";
import { Curator } from "../side/curator";
import { ConflictBar, Unwritten, VerdictButtons } from "../side/Judge";
import { SidePanel } from "../side/SidePanel";
import { ChartPanel } from "./curves/ChartPanel";
import { comparePath } from "./ComparePage";
import { Damaged } from "./Damaged";
import { hasSeconds, placed } from "./events/events";
import { forgetKeys, useJudgeKeys } from "./judgekeys";
import { handEvents, type HandEvents } from "./events/handevents";
import { ImageCanvas } from "./pixels/ImageCanvas";
import { Readout } from "./curves/Readout";
import { Stage } from "./stage";
import { Steps } from "./Steps";
import type { TileCache } from "./pixels/tilecache";
import { Toolbar } from "./Toolbar";
import { choices, chosen, tracesOf } from "./curves/traces";

export function ImagePage({ id, info: dataset }: { id: string; info: DatasetInfo }) {
  const loaded = useLoad(id, (_, abort) => getImage(id, abort));
  if (loaded.error) {
    forgetKeys();
    return <main class="page" id="main"><ErrorBox error={loaded.error} retry={loaded.reload} /><p><a href="/">To the gallery</a></p></main>;
  }
  const first = loaded.data;
  return (
    <>
      <Unwritten />
      {!first ? <main class="image-page loading" id="main" aria-busy="true">Loading…</main> : canBeDrawn(first) ? <Whole first={first} editable={dataset.editable} /> : <Damaged first={first} editable={dataset.editable} />}
    </>
  );
}

function Whole({ first, editable }: { first: ImageInfo; editable: boolean }) {
  const stage = useMemo(() => new Stage(first), []);
  const watcher = useMemo(
    // Should the pixels be damaged meanwhile, their requests tell.
    () => new Curator(() => stage.info.peek(), (now) => (stage.info.value = { ...now, plane: now.plane ?? stage.info.peek().plane })),
    [],
  );
  const curator = editable ? watcher : null;
  const cache = useRef<TileCache | null>(null);
  useEffect(() => () => { stage.dispose(); watcher.leave(); }, []);
  const info = stage.info.value;
  const id = info.image_id;

  useEffect(() => {
    const follow = () => {
      // The way back may lead to another image, which has a stage of its own.
      const here = route.peek();
      if (here.page === "image" && here.id === id) stage.follow(params.peek());
    };
    addEventListener("popstate", follow);
    return () => removeEventListener("popstate", follow);
  }, []);
  useChanges(id, async ({ revision }) => {
    if (revision !== stage.info.peek().revision) await watcher.look();
  }, 2000);

  const at = formatAt(stage.at.value);
  const histogram = useLoad(imageUrl(id, "histogram", { at, v: info.pixels }), (address, abort) => getJson<Histogram>(address, abort));
  useEffect(() => {
    if (histogram.data && !histogram.loading) stage.gotHistogram(histogram.data);
  }, [histogram.data, histogram.loading]);

  // What suits each of the channels that are drawn over each other.
  const beside = stage.layers.value.length > 1 ? stage.layers.value.map((layer) => layer.at).filter((one) => one !== at) : [];
  useLoad(beside.length ? `${info.pixels} ${beside.join(" ")}` : null, (_, abort) =>
    Promise.all(stage.layers.peek().filter((layer) => layer.at !== at).map(async (layer) =>
      stage.gotAuto(layer.channel, await getJson<Histogram>(imageUrl(id, "histogram", { at: layer.at, v: info.pixels }), abort)))));

  // Only these two, so that a zoom, which is in the address too, does not redraw all.
  const asked = useComputed(() => params.value.get("series")).value;
  const from = useComputed(() => params.value.get("from")).value;
  const all = useMemo(() => choices(info), [info]);
  const choice = chosen(all, asked);
  const curves = choice && imageUrl(id, "series", { kind: choice.kind, name: choice.name, column: choice.column });
  const series = useLoad(curves && `${info.revision} ${curves}`, (_, abort) => getJson<SeriesData>(curves!, abort));
  const traces = useMemo(() => (choice && series.data ? tracesOf(series.data, info) : []), [series.data, choice?.key, info.rois]);

  const source = info.events.find((one) => joinKey(one.kind, one.name) === from) ?? info.events[0] ?? null;
  const events = useLoad(
    source ? `${info.revision} ${source.kind} ${source.name}` : null,
    (_, abort) => getJson<EventsData>(imageUrl(id, "events", { kind: source!.kind, name: source!.name }), abort),
  );
  useEffect(() => {
    stage.events.value = events.data ? placed(events.data, info) : [];
  }, [events.data, info]);
  const types = useMemo(() => [...new Set(stage.events.value.map((one) => one.type))].sort(), [stage.events.value]);

  const hand = useRef<HandEvents | null>(null);
  hand.current = useMemo(() => handEvents(stage, curator, source, events.data?.columns ?? []), [source?.name, source?.kind, events.data]);
  const own = useRef<string[]>([]);
  own.current = events.data?.own_types ?? [];
  useImageKeys(stage, curator, () => hand.current, () => own.current);
  const aligned = hasSeconds(info);
  useEffect(() => {
    shownName.value = info.name;
    return () => { shownName.value = null; };
  }, [info.name]);
  return (
    <main class="image-page" id="main" tabIndex={-1} data-testid="image-page" data-image-id={id} data-revision={info.revision}>
      <div class="image-main">
        <div class="image-head">
          <Steps info={info} />
          <h1 title={id}>{info.name}{info.name !== id && <span class="dim"> {id}</span>}</h1>
          <span class="spacer" />
          <a href={comparePath(id, id, params.peek().get("in"))} data-testid="compare" title="Beside another image, or with two of its curves">Side by side</a>
          {curator ? <VerdictButtons curator={curator} verdict={info.curation.verdict} /> : <VerdictBadge verdict={info.curation.verdict} />}
        </div>
        {curator && <ConflictBar curator={curator} />}
        <ErrorBox error={info.error} />
        {info.artifacts.filter((one) => one.error).map((one) => <ErrorBox key={one.key} error={`${one.name} cannot be shown: ${one.error}`} />)}
        <Toolbar stage={stage} />
        <Readout stage={stage} cache={() => cache.current} traces={traces} unit={choice?.unit ?? null} aligned={aligned} />
        <ImageCanvas stage={stage} labelled={!(choice && aligned)} types={types} editable={editable} hand={() => hand.current} onCache={(made) => (cache.current = made)}
          onStale={() => void watcher.look()} />
        {all.length > 0 && <ChartPanel stage={stage} all={all} choice={choice} loaded={series} traces={traces} aligned={aligned} types={types} />}
      </div>
      <SidePanel stage={stage} info={info} curator={curator} events={{ chosen: source, loaded: events, types, hand: hand.current }} />
    </main>
  );
}

function useImageKeys(stage: Stage, curator: Curator | null, hand: () => HandEvents | null, own: () => string[]): void {
  useJudgeKeys(() => stage.info.peek(), curator, () => stage.draft.peek() !== null);
  useKeys((event) => {
    // While a region is described, a letter is part of its name, wherever the focus is.
    if (stage.draft.peek() && event.key !== "Escape") return false;
    const chosen = stage.event.peek();
    if (/^[1-9]$/.test(event.key)) {
      const type = own()[Number(event.key) - 1];
      if (chosen === null || type === undefined || !hand()) return false;
      hand()!.name(chosen, type);
      return true;
    }
    switch (event.key) {
      case "i": {
        const { x0, x1 } = stage.view.peek();
        const middle = stage.hover.peek()?.x ?? (x0 + x1) / 2;
        hand()?.add(middle - (x1 - x0) / 50, middle + (x1 - x0) / 50);
        break;
      }
      case "x": if (chosen !== null) hand()?.remove(chosen); break;
      case "+": case "=": stage.zoom(1.5); break;
      case "-": case "_": stage.zoom(1 / 1.5); break;
      case "0": stage.fit(); break;
      case "n": case "j": stage.step(1); break;
      case "p": case "k": stage.step(-1); break;
      case "e": stage.showEvents.value = !stage.showEvents.value; break;
      case "o": stage.showRois.value = !stage.showRois.value; break;
      case "Enter":
        // A rectangle for those who draw by keys: its edges are fields of the form.
        if (!stage.drawing.peek()) return false;
        stage.draftInView();
        break;
      case "d": if (curator) stage.drawing.value = !stage.drawing.value; break;
      case "Escape":
        if (stage.draft.peek() || stage.drawing.peek()) {
          stage.draft.value = null;
          stage.drawing.value = false;
        } else {
          stage.event.value = null;
          stage.roi.value = null;
        }
        break;
      default: return false;
    }
    return true;
  }, [stage, curator]);
}
