import { COLOR_MAPS } from "../lib/lut";
import type { Along } from "../lib/view";
import { Icon } from "../parts/icons";
import { Contrast } from "./pixels/Contrast";
import type { Coloring } from "./seen";
import type { Stage } from "./stage";

/** Planes, contrast, colours and zoom. */
export function Toolbar({ stage }: { stage: Stage }) {
  const info = stage.info.value;
  const toggle = (id: string, on: boolean, text: string, title: string, change: () => void) => (
    <button type="button" class="toggle" aria-pressed={on} data-testid={id} title={title} onClick={change}>{text}</button>
  );
  const sliders = info.sliders.filter((slider) => slider.size > 1);
  return (
    <div class="image-tools">
      <Contrast stage={stage} />
      <label class="field">
        <span>Colours</span>
        <select data-testid="color-map" value={stage.colorMap.value} onChange={(e) => (stage.colorMap.value = e.currentTarget.value as Coloring)}>
          {info.plane.composite && <option value="composite">{info.plane.composite === "rgb" ? "as they are" : "all channels"}</option>}
          {Object.keys(COLOR_MAPS).map((name) => <option key={name}>{name}</option>)}
        </select>
      </label>
      {stage.compositeAxis && info.plane.composite === "tints" && (
        <span class="legends" data-testid="layers">
          {stage.layers.value.map(({ channel, color }) => (
            <button type="button" class={stage.at.value[stage.compositeAxis!] === channel ? "legend on" : "legend"} key={channel}
              title="Set its contrast" onClick={() => stage.setAt(stage.compositeAxis!, channel)}>
              <span class="swatch" style={{ background: color! }} /> {info.channel_names?.[channel] ?? `channel ${channel + 1}`}
            </button>
          ))}
        </span>
      )}
      {sliders.map((slider) => {
        const at = stage.at.value[slider.axis] ?? 0;
        const labels = slider.labels;
        return labels && slider.size <= 12 ? (
          <label class="field" key={slider.axis}>
            <span>{slider.name}</span>
            <select data-testid={`slider-${slider.axis}`} value={at} onChange={(e) => stage.setAt(slider.axis, Number(e.currentTarget.value))}>
              {labels.map((label, i) => <option key={i} value={i}>{label}</option>)}
            </select>
          </label>
        ) : (
          <label class="field" key={slider.axis}>
            <span>{slider.name} <output>{labels?.[at] ?? `${at + 1} / ${slider.size}`}</output></span>
            <input type="range" min={0} max={slider.size - 1} value={at} data-testid={`slider-${slider.axis}`}
              aria-valuetext={labels?.[at] ?? `${at + 1} of ${slider.size}`}
              onInput={(e) => stage.setAt(slider.axis, Number(e.currentTarget.value))} />
          </label>
        );
      })}
      <span class="spacer" />
      {!stage.frame.value.equal && (
        <label class="field">
          <span>Wheel zooms</span>
          <select data-testid="zoom-axis" value={stage.along.value} onChange={(e) => (stage.along.value = e.currentTarget.value as Along)}>
            <option value="x">{info.plane.horizontal.name}</option>
            <option value="y">{info.plane.vertical.name}</option>
            <option value="both">both axes</option>
          </select>
        </label>
      )}
      {(info.rois.length > 0 || info.events.length > 0) && <span class="switch" role="group" aria-label="Shown over the image">
        {info.rois.length > 0 && toggle("toggle-rois", stage.showRois.value, "ROIs", "Regions on the image (o)", () => (stage.showRois.value = !stage.showRois.value))}
        {info.events.length > 0 && toggle("toggle-events", stage.showEvents.value, "Events", "Events on the image (e)", () => (stage.showEvents.value = !stage.showEvents.value))}
      </span>}
      <span class="switch" role="group" aria-label="Zoom">
        <button type="button" class="icon-button" aria-label="Farther" title="Farther (−)" data-testid="zoom-out" onClick={() => stage.zoom(1 / 1.5)}><span aria-hidden="true">−</span></button>
        <button type="button" class="icon-button" aria-label="Nearer" title="Nearer (+)" data-testid="zoom-in" onClick={() => stage.zoom(1.5)}><Icon name="plus" /></button>
        <button type="button" class="icon-button" aria-label="All of it" title="All of it (0)" data-testid="zoom-fit" onClick={stage.fit}><Icon name="fit" /></button>
      </span>
    </div>
  );
}
