import { useEffect, useRef, useState } from "preact/hooks";
import { downloadUrl, getJson, url } from "../api/client";
import type { ValuesData } from "../api/types";
import { columnLabel, number, plural } from "../lib/format";
import { formatFilter } from "../lib/query";
import { imagePath, navigate } from "../lib/router";
import { onPage } from "../lib/theme";
import { tickLabel, ticks } from "../lib/ticks";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { useLoad } from "../parts/useLoad";
import { pairLines, pointOffsets, valueRange } from "./groups";

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [62, 10, 8, 50, 300];
const FIGURES = ["svg", "pdf", "png"];
const DATA = { csv: "CSV", xlsx: "Excel", columns: "a column per group" };
// More are not gone through by Tab.
const MAX_STOPS = 200;

interface Props {
  name: string;
  asked: { value: string; by: string[]; unit: string | null; where: string[] };
  kind: string;
  paired: boolean;
}

/** The values of images or animals by groups; a click on a point opens what it is of. */
export function GroupPlot({ name, asked, kind, paired }: Props) {
  const address = url(`/api/values/${encodeURIComponent(name)}`, asked);
  const loaded = useLoad(address, (_, signal) => getJson<ValuesData>(address, signal));
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(720);
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(Math.max(240, box.current?.clientWidth ?? 0)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const data = loaded.error ? null : loaded.data;
  const query = { ...asked, kind, paired: paired || null };
  return (
    <div ref={box}>
      <ErrorBox error={loaded.error} retry={loaded.reload} />
      {data && <Drawn data={data} width={width} kind={kind} paired={paired} />}
      {data && (
        <div class="section-tools" data-testid="values-downloads">
          <span class="dim">{data.groups.map((one) => `${one.label ? `${one.label}: ` : ""}${number(one.mean)} ± ${number(one.sem)} (n = ${one.n_units}, of ${plural(one.n_images, "image")})`).join("; ")}</span>
          <span class="spacer" />
          {[...FIGURES, ...Object.keys(DATA)].map((form) => (
            <a key={form} class="download" download data-testid={`values-${form}`} href={downloadUrl("values", name, { ...query, as: form })}>
              {form === "svg" && <Icon name="save" />} {DATA[form as keyof typeof DATA] ?? form.toUpperCase()}
            </a>
          ))}
        </div>
      )}
    </div>
  );
}

function Drawn({ data, width, kind, paired }: { data: ValuesData; width: number; kind: string; paired: boolean }) {
  const { groups } = data;
  const all = groups.flatMap((group) => group.values);
  const [low, high] = valueRange(all);
  const span = Math.max(0, high - low) / 1.12;
  const step = (width - LEFT - RIGHT) / Math.max(1, groups.length);
  const across = (at: number) => LEFT + (at + 0.5) * step;
  const down = (value: number) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const marks = ticks(low, high, 6);
  const toPoint = (unit: unknown) =>
    data.unit === "image_id" ? imagePath(String(unit)) : url("/", { where: formatFilter({ column: data.unit, op: "eq", value: String(unit) }) });
  const open = (event: MouseEvent, to: string) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    navigate(to);
  };
  const counted = data.unit === "image_id" ? "image" : data.unit;
  return (
    <svg class="group-plot" width={width} height={HEIGHT} data-testid="group-plot" data-kind={kind} data-points={all.length} role="group"
      aria-label={`${data.value} by group, a point for each ${counted}`}>
      {marks.values.map((value) => (
        <g key={value}>
          <line class="grid" x1={LEFT} x2={width - RIGHT} y1={down(value)} y2={down(value)} />
          <text x={LEFT - 6} y={down(value) + 4} text-anchor="end">{tickLabel(value, marks.step)}</text>
        </g>
      ))}
      <text transform={`translate(14 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`} text-anchor="middle">{columnLabel(data.value)}</text>
      {paired && pairLines(groups).map((line, i) => <polyline key={i} class="pair" data-testid="pair" points={line.map(([at, value]) => `${across(at)},${down(value)}`).join(" ")} />)}
      {groups.map((group, at) => {
        const offsets = paired ? group.values.map(() => 0) : pointOffsets(group.values, span, kind);
        const [x, half] = [across(at), step * 0.25];
        return (
          <g key={group.label} data-testid="group" data-label={group.label}>
            {kind === "box" && group.quartiles[0] !== null && group.quartiles[1] !== null && (
              <g class="box">
                <line x1={x} x2={x} y1={down(group.min)} y2={down(group.max)} />
                <rect x={x - half} width={half * 2} y={down(group.quartiles[1]!)} height={Math.max(0, down(group.quartiles[0]!) - down(group.quartiles[1]!))} />
                <line x1={x - half} x2={x + half} y1={down(group.median)} y2={down(group.median)} />
              </g>
            )}
            {group.values.map((value, i) => {
              const to = toPoint(group.units[i]);
              const text = `${data.names[String(group.units[i])] ?? group.units[i]}: ${number(value, 5)}`;
              return (
                <a key={i} href={to} aria-label={text} tabIndex={all.length > MAX_STOPS ? -1 : 0} data-testid="point" onClick={(e) => open(e, to)}>
                  <circle cx={x + offsets[i]! * step} cy={down(value)} r={4} fill={onPage(at)}><title>{text}</title></circle>
                </a>
              );
            })}
            {kind !== "box" && group.values.length > 0 && (
              <g class="mean">
                <line x1={x - half} x2={x + half} y1={down(group.mean)} y2={down(group.mean)} />
                {group.sem !== null && <line x1={x} x2={x} y1={down(group.mean - group.sem)} y2={down(group.mean + group.sem)} />}
              </g>
            )}
            <text x={x} y={HEIGHT - BOTTOM + 18} text-anchor="middle">{group.label}</text>
            <text x={x} y={HEIGHT - BOTTOM + 34} text-anchor="middle" class="n">n = {group.n_units}</text>
          </g>
        );
      })}
    </svg>
  );
}
