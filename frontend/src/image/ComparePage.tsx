import { effect, signal, useComputed } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { getJson, imageUrl, url } from "../api/client";
import { canBeDrawn, getImage } from "../api/image";
import type { EventsData, Histogram, ImageInfo, SeriesData } from "../api/types";
import { formatAt } from "../lib/query";
import { imagePath, params, setQuery } from "../lib/router";
import { carried } from "../lib/view";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { useLoad } from "../parts/useLoad";
import { VerdictBadge } from "../parts/VerdictBadge";
import { ChartPanel } from "./curves/ChartPanel";
import { hasSeconds, placed } from "./events/events";
import { ImageCanvas } from "./pixels/ImageCanvas";
import { Stage } from "./stage";
import { choices, chosen, tracesOf } from "./curves/traces";

const SIDES = ["a", "b"] as const;
type Side = (typeof SIDES)[number];

export const comparePath = (a: string, b: string, list?: string | null) => url("/compare", { a, b, in: list });

/** Two images, or one with two of its curves, whose axes move together. */
export function ComparePage() {
  const stages = useMemo(() => signal<Partial<Record<Side, Stage>>>({}), []);
  const [linked, setLinked] = useState(true);
  // A side that the user moves moves the other one.
  const leader = useMemo(() => signal<Side>("a"), []);
  useEffect(() => effect(() => {
    const from = stages.value[leader.value];
    const to = stages.value[leader.value === "a" ? "b" : "a"];
    if (!linked || !from || !to) return;
    const view = from.view.value;
    const [one, other] = [from.frame.value, to.frame.value];
    if (!(one.pixelsWide > 0) || !(other.pixelsWide > 0)) return;
    const { plane: p } = from.info.peek();
    const { plane: q } = to.info.peek();
    const same = (i: ImageInfo["plane"]["horizontal"], j: typeof i) => i.calibrated && j.calibrated && i.unit === j.unit;
    to.setView(carried(view, one, other, { x: same(p.horizontal, q.horizontal), y: same(p.vertical, q.vertical) }));
  }), [linked]);
  const show = (side: Side, stage: Stage | undefined) => { stages.value = { ...stages.peek(), [side]: stage }; };
  return (
    <main class="compare-page" id="main" tabIndex={-1} data-testid="compare-page">
      <div class="compare-head">
        <h1>Side by side</h1>
        <label><input type="checkbox" checked={linked} data-testid="compare-linked" onChange={(e) => setLinked(e.currentTarget.checked)} /> axes move together</label>
      </div>
      <div class="compare">
        {SIDES.map((side) => <Half key={side} side={side} onStage={(stage) => show(side, stage)} onLead={() => (leader.value = side)} />)}
      </div>
    </main>
  );
}

interface HalfProps {
  side: Side;
  onStage: (stage: Stage | undefined) => void;
  onLead: () => void;
}

function Half({ side, onStage, onLead }: HalfProps) {
  const id = useComputed(() => params.value.get(side)).value;
  const loaded = useLoad(id, getImage);
  const info = loaded.data;
  const step = (to: string | null | undefined, label: string, icon: "left" | "right") => (
    <button type="button" class="icon-button" disabled={!to} aria-label={`${label} image, ${side}`} title={`${label} image`} data-testid={`compare-${icon}`}
      onClick={() => setQuery({ [side]: to }, "push")}><Icon name={icon} /></button>
  );
  return (
    <section class="compare-half" aria-label={side === "a" ? "First image" : "Second image"} data-testid={`half-${side}`} data-image-id={info?.image_id}
      onPointerEnter={onLead} onPointerDown={onLead} onFocusCapture={onLead}>
      <div class="image-head">
        {step(info?.previous, "Previous", "left")}{step(info?.next, "Next", "right")}
        <h2>{info ? <a href={imagePath(info.image_id)}>{info.name}</a> : "…"}</h2>
        {info && <VerdictBadge verdict={info.curation.verdict} />}
      </div>
      <ErrorBox error={loaded.error ?? (id ? info?.error : "The address names no image for this side.")} retry={loaded.error ? loaded.reload : undefined} />
      {info && canBeDrawn(info) && <Drawn key={`${info.image_id} ${info.pixels}`} info={info} side={side} onStage={onStage} onStale={loaded.reload} />}
    </section>
  );
}

function Drawn({ info, side, onStage, onStale }: { info: ImageInfo; side: Side; onStage: HalfProps["onStage"]; onStale: () => void }) {
  const stage = useMemo(() => new Stage(info, new URLSearchParams(), false), []);
  useEffect(() => {
    onStage(stage);
    return () => { onStage(undefined); stage.dispose(); };
  }, []);
  const id = info.image_id;
  const at = formatAt(stage.at.value);
  const histogram = useLoad(imageUrl(id, "histogram", { at, v: info.pixels }), (address, abort) => getJson<Histogram>(address, abort));
  useEffect(() => {
    if (histogram.data && !histogram.loading) stage.gotHistogram(histogram.data);
  }, [histogram.data, histogram.loading]);
  const asked = useComputed(() => params.value.get(`curve_${side}`)).value;
  const all = useMemo(() => choices(info), [info]);
  const choice = chosen(all, asked);
  const curves = choice && imageUrl(id, "series", { kind: choice.kind, name: choice.name, column: choice.column });
  const series = useLoad(curves, (address, abort) => getJson<SeriesData>(address, abort));
  const traces = useMemo(() => (choice && series.data ? tracesOf(series.data, info) : []), [series.data, choice?.key, info.rois]);
  const source = info.events[0] ?? null;
  const events = useLoad(source && imageUrl(id, "events", { kind: source.kind, name: source.name }), (address, abort) => getJson<EventsData>(address, abort));
  useEffect(() => { stage.events.value = events.data ? placed(events.data, info) : []; }, [events.data]);
  const types = useMemo(() => [...new Set(stage.events.value.map((one) => one.type))].sort(), [stage.events.value]);
  const aligned = hasSeconds(info);
  return (
    <>
      <ImageCanvas stage={stage} labelled={!(choice && aligned)} types={types} editable={false} hand={() => null} onCache={() => undefined} onStale={onStale} />
      {all.length > 0 && (
        <ChartPanel stage={stage} all={all} choice={choice} loaded={series} traces={traces} aligned={aligned} types={types}
          onChoose={(key) => setQuery({ [`curve_${side}`]: key }, "push")} />
      )}
    </>
  );
}
