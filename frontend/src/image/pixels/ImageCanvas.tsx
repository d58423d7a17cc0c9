import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "../../api/client";
import { formatAt } from "../../lib/query";
import { color, theme } from "../../lib/theme";
import { viewText } from "../../lib/view";
import { ErrorBox } from "../../parts/ErrorBox";
import { drawAxes, drawScaleBars, drawTiles } from "./draw";
import { areaOf } from "./geometry";
import type { HandEvents } from "../events/handevents";
import { useMasks } from "../regions/masks";
import { drawAbove } from "./overlay";
import { usePointer } from "./pointer";
import type { Stage } from "../stage";
import { TileCache } from "./tilecache";

interface Props {
  stage: Stage;
  /** Whether the label of the axis stands below, as there is no chart that has it. */
  labelled: boolean;
  types: string[];
  onCache: (cache: TileCache) => void;
  editable: boolean;
  hand: () => HandEvents | null;
  /** The pixels are not those that this page knows of. */
  onStale: () => void;
}

export function ImageCanvas({ stage, labelled, types, onCache, editable, hand, onStale }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const below = useRef<HTMLCanvasElement>(null);
  const above = useRef<HTMLCanvasElement>(null);
  const cache = useRef<TileCache | null>(null);
  const failed = useSignal<unknown>(null);
  const info = stage.info.value;

  useMasks(stage);
  usePointer(below, stage, editable, labelled, hand);

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      const { clientWidth, clientHeight } = box.current!;
      const { width, height } = areaOf(clientWidth, clientHeight, labelled);
      stage.size.value = { width, height };
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, [stage, labelled]);

  useEffect(() => {
    let frame = 0;
    const later = () => (frame ||= requestAnimationFrame(paint));
    const tiles = new TileCache(info.image_id, info.pixels, info.plane.turned, () => {
      if (tiles.error instanceof ApiError && tiles.error.isConflict) onStale();
      failed.value = tiles.error;
      later();
    });
    cache.current = tiles;
    onCache(tiles);

    function paint() {
      frame = 0;
      const canvas = below.current;
      const { width } = stage.size.peek();
      if (!canvas || !(width > 0)) return;
      const context = prepared(canvas, box.current!);
      const area = areaOf(box.current!.clientWidth, box.current!.clientHeight, labelled);
      const { horizontal, vertical } = stage.info.peek().plane;
      const view = stage.view.peek();
      const range = stage.range.peek();
      const layers = stage.layers.peek();
      context.fillStyle = color("canvas");
      context.fillRect(area.left, area.top, area.width, area.height);
      const ratio = canvas.width / box.current!.clientWidth;
      const at = formatAt(stage.at.peek());
      const whole = drawTiles(context, tiles, view, area, stage.plane.peek(), layers, ratio);
      drawAxes(context, view, area, horizontal, vertical, { text: color("ink-2"), line: color("line-2") }, labelled);
      drawScaleBars(context, view, area, horizontal, vertical, stage.frame.peek().equal);
      canvas.dataset.drawn = String(whole);
      const text = viewText(view, stage.frame.peek());
      canvas.dataset.view = `${text.x},${text.y}`;
      canvas.dataset.at = at;
      canvas.dataset.contrast = `${range.low},${range.high}`;
      canvas.dataset.map = stage.colorMap.peek();
    }

    const stop = effect(() => {
      stage.view.value;
      stage.size.value;
      stage.at.value;
      stage.layers.value;
      theme.value;
      if (below.current) below.current.dataset.drawn = "false";
      later();
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
      tiles.dispose();
      failed.value = null;
    };
  }, [stage, info.image_id, info.pixels, labelled]);

  useEffect(() => {
    let frame = 0;
    const paint = () => {
      frame = 0;
      const canvas = above.current;
      if (!canvas || !(stage.size.peek().width > 0)) return;
      const context = prepared(canvas, box.current!);
      const area = areaOf(box.current!.clientWidth, box.current!.clientHeight, labelled);
      const seen = stage.info.peek();
      drawAbove(context, stage.view.peek(), area, {
        rois: stage.showRois.peek()
          ? seen.rois.map((roi, index) => ({ roi, index })).filter(({ roi }) => stage.shows(roi))
          : [],
        selectedRoi: stage.roi.peek(),
        events: stage.showEvents.peek() ? stage.events.peek() : [],
        types,
        selectedEvent: stage.event.peek(),
        draft: stage.draft.peek(),
        eventDraft: stage.eventDraft.peek(),
        hover: stage.hover.peek(),
        masks: stage.masks.peek(),
        turned: seen.plane.turned,
        accent: color("accent"),
      });
      canvas.dataset.selectedEvent = stage.event.peek() === null ? "" : String(stage.event.peek());
    };
    const stop = effect(() => {
      stage.view.value;
      stage.size.value;
      stage.info.value;
      stage.at.value;
      stage.showRois.value;
      stage.showEvents.value;
      stage.roi.value;
      stage.event.value;
      stage.events.value;
      stage.draft.value;
      stage.eventDraft.value;
      stage.masks.value;
      stage.hover.value;
      theme.value;
      frame ||= requestAnimationFrame(paint);
    });
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [stage, labelled, types.join("\n")]);

  const { horizontal, vertical } = info.plane;
  return (
    <div class="image-box" ref={box}>
      <canvas ref={below} class={stage.drawing.value ? "drawing" : ""} tabIndex={0} data-testid="image-canvas" data-drawn="false" role="img"
        aria-label={`Image ${info.image_id}, ${horizontal.size} by ${vertical.size} samples. Wheel, plus and minus zoom, arrows move, 0 shows all of it.`} />
      <canvas ref={above} class="above" data-testid="overlay-canvas" aria-hidden="true" />
      {Boolean(failed.value) && (
        <div class="over-image">
          <ErrorBox error={failed.value} retry={() => {
            failed.value = null;
            cache.current?.retry();
          }} />
        </div>
      )}
    </div>
  );
}

/** A canvas as large as its box, cleared, counted in CSS pixels. */
function prepared(canvas: HTMLCanvasElement, box: HTMLElement): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(box.clientWidth * ratio), Math.round(box.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d")!;
  context.setTransform(width / box.clientWidth, 0, 0, height / box.clientHeight, 0, 0);
  context.clearRect(0, 0, box.clientWidth, box.clientHeight);
  return context;
}
