import { useLayoutEffect, useRef } from "preact/hooks";
import type { ImageInfo, Roi } from "../api/types";
import { boxOfRoi, dataOfBox, roiLabel, wholeBox } from "../image/regions/rois";
import type { Draft, Stage } from "../image/stage";
import { number } from "../lib/format";
import { onPage } from "../lib/theme";
import { Icon } from "../parts/icons";
import type { Curator } from "./curator";

interface Props {
  stage: Stage;
  info: ImageInfo;
  curator: Curator | null;
}

/** The regions; with an editor where they may be changed. */
export function RoiList({ stage, info, curator }: Props) {
  const draft = stage.draft.value;
  const { turned, horizontal, vertical } = info.plane;
  const size = (roi: Roi) => {
    const box = boxOfRoi(roi, turned);
    if (!box) return roi.roi_type === "mask" ? `mask ${roi.data?.mask_ref ?? ""}` : "";
    const side = (a: number, b: number, axis: typeof horizontal) =>
      `${number(a * axis.step, 4)}–${number(b * axis.step, 4)} ${axis.unit}`;
    const kind = roi.outline ? `${roi.roi_type} ` : "";
    return `${kind}${side(box.x0, box.x1, horizontal)} × ${side(box.y0, box.y1, vertical)}`;
  };
  const edit = (roi: Roi) => {
    const box = boxOfRoi(roi, turned);
    if (box) stage.draft.value = { roi, ...box, name: roi.name ?? "", note: roi.note ?? "" };
  };
  const remove = (roi: Roi) =>
    void curator?.apply([{ kind: "remove_roi", roi_id: roi.roi_id }], `ROI ${roi.roi_id} removed`).then((done) => {
      if (done && stage.roi.peek() === roi.roi_id) stage.roi.value = null;
    });
  return (
    <>
      {curator && !draft && (
        <div class="section-tools">
          <button type="button" data-testid="roi-draw" aria-pressed={stage.drawing.value} title="Draw a rectangle (d)"
            onClick={() => (stage.drawing.value = !stage.drawing.value)}>
            <Icon name="draw" /> {stage.drawing.value ? "Drag over the image…" : "Draw a rectangle"}
          </button>
        </div>
      )}
      {draft && curator && <DraftForm stage={stage} info={info} curator={curator} draft={draft} />}
      {info.rois.length === 0 && !draft && <p class="dim">None.</p>}
      <ul class="roi-list">
        {info.rois.map((roi, i) => {
          const here = stage.shows(roi);
          const on = stage.roi.value === roi.roi_id;
          return (
            <li key={roi.roi_id} class={on ? "roi-row selected" : "roi-row"} data-testid="roi-row" data-roi={roi.roi_id}>
              <button type="button" class="roi-pick" aria-pressed={on} onClick={() => (stage.roi.value = on ? null : roi.roi_id)}>
                <span class="swatch" style={{ background: onPage(i) }} />
                <span class="roi-name">{roiLabel(roi)}</span>
                <span class="dim">{[size(roi), roi.note, here ? "" : `on channel ${roi.channel ?? 1}, z ${roi.z ?? 0}`].filter(Boolean).join(" · ")}</span>
              </button>
              {curator && !draft && boxOfRoi(roi, turned) && (
                <span class="roi-tools">
                  {!roi.outline && <button type="button" class="quiet" data-testid="roi-edit" onClick={() => edit(roi)}>Edit</button>}
                  <button type="button" class="quiet" data-testid="roi-delete" disabled={curator.busy.value} onClick={() => remove(roi)}>Delete</button>
                </span>
              )}
            </li>
          );
        })}
      </ul>
    </>
  );
}

function DraftForm({ stage, info, curator, draft }: Props & { curator: Curator; draft: Draft }) {
  const plane = stage.plane.value;
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => {
    form.current?.scrollIntoView({ block: "nearest" });
    // What one types next is its name, from the first key on: an effect after the paint is too late.
    form.current?.querySelector<HTMLInputElement>("[data-testid='roi-name']")?.focus({ preventScroll: true });
  }, []);
  const data = dataOfBox(wholeBox(draft, plane), plane.turned);
  const change = (patch: Partial<Draft>) => (stage.draft.value = { ...draft, ...patch });
  const side = (name: "x0" | "x1" | "y0" | "y1") => (
    <label key={name}>
      <span>{name}</span>
      <input type="number" step={1} min={0} value={data[name]} data-testid={`roi-${name}`}
        onChange={(e) => {
          const value = Number(e.currentTarget.value);
          if (!Number.isInteger(value)) return;
          const next = { ...data, [name]: value };
          change(boxOfRoi({ roi_id: 0, roi_type: "rect", data: next }, plane.turned)!);
        }} />
    </label>
  );
  const save = async (event: Event) => {
    event.preventDefault();
    const at = stage.at.peek();
    const position = (test: (axis: ImageInfo["axes"][number]) => boolean) => {
      const axis = info.axes.find(test);
      return axis ? at[axis.name] : undefined;
    };
    const place = draft.roi ?? {
      channel: (position((axis) => axis.quantity === "channel") ?? 0) + 1,
      z: position((axis) => axis.name === "z") ?? 0,
      roi_type: "rect", version: "1.0",
    };
    const roi: Partial<Roi> = { ...place, name: draft.name, note: draft.note, data };
    const what = draft.roi ? `ROI ${draft.roi.roi_id} changed` : "a new rectangle";
    if (await curator.apply([{ kind: "roi", roi }], what)) {
      stage.draft.value = null;
      stage.drawing.value = false;
      const ids = stage.info.peek().rois.map((one) => one.roi_id);
      stage.roi.value = draft.roi?.roi_id ?? ids.find((id) => !info.rois.some((old) => old.roi_id === id)) ?? null;
    }
  };
  return (
    <form ref={form} class="roi-form" onSubmit={save} data-testid="roi-form">
      <h3>{draft.roi ? `ROI ${draft.roi.roi_id}` : "New rectangle"}</h3>
      <label class="wide"><span>name</span><input data-testid="roi-name" value={draft.name} onInput={(e) => change({ name: e.currentTarget.value })} /></label>
      <label class="wide"><span>note</span><input data-testid="roi-note" value={draft.note} onInput={(e) => change({ note: e.currentTarget.value })} /></label>
      <div class="four">{(["x0", "x1", "y0", "y1"] as const).map(side)}</div>
      <div class="section-tools">
        <button type="submit" class="primary" data-testid="roi-save" disabled={curator.busy.value}>Save</button>
        <button type="button" onClick={() => { stage.draft.value = null; stage.drawing.value = false; }}>Cancel</button>
        <span class="dim">Drag its edges on the image.</span>
      </div>
    </form>
  );
}
