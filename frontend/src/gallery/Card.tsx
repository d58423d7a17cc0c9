import { url } from "../api/client";
import type { ImageRow, Verdict } from "../api/types";
import { imagePath } from "../lib/router";
import { base } from "../published/place";
import { Icon } from "../parts/icons";
import { VerdictBadge } from "../parts/VerdictBadge";
import { Thumbnail } from "./Thumbnail";
import { acquired, condition, facts, noteOf, title } from "./facts";

interface Props {
  row: ImageRow | undefined;
  index: number;
  active: boolean;
  list: boolean;
  /** The query of the list, which the image's page goes through. */
  from: string;
  box: { left: number; top: number; width: number; height: number };
  onFocus: (index: number) => void;
  /** Where images are judged: whether it is chosen, and how to choose it. */
  chosen: boolean | null;
  onChoose: (index: number, range: boolean) => void;
}

export function Card({ row, index, active, list, from, box, onFocus, chosen, onChoose }: Props) {
  const style = {
    transform: `translate(${box.left}px, ${box.top}px)`, width: `${box.width}px`, height: `${box.height}px`,
  };
  if (!row) return <div class={list ? "card row waiting" : "card waiting"} style={style} aria-hidden="true" />;
  const { name, folder } = title(row);
  const place = condition(row);
  const time = acquired(row);
  const note = noteOf(row);
  const picture = (
    <span class="thumb">
      {row.thumbnail ? <Thumbnail src={row.thumbnail.startsWith("/") ? base + row.thumbnail : row.thumbnail} /> : <span class="no-thumb">no picture</span>}
      {!list && <VerdictBadge verdict={row.verdict as Verdict} />}
    </span>
  );
  const kind = `card${list ? " row" : ""}${chosen !== null ? " can-choose" : ""}${chosen ? " chosen" : ""}`;
  return (
    <>
    {chosen !== null && (
      <label class={list ? "choose row" : "choose"} style={{ transform: style.transform }}>
        <input type="checkbox" checked={chosen} tabIndex={-1} aria-label={`Choose ${name}`} data-testid="choose"
          onClick={(event) => { event.preventDefault(); onChoose(index, event.shiftKey); }} />
      </label>
    )}
    <a class={kind} style={style} href={url(imagePath(row.image_id), { in: from })} tabIndex={active ? 0 : -1}
      data-testid="card" data-image-id={row.image_id} data-index={index} data-chosen={chosen ?? undefined} onFocus={() => onFocus(index)}
      onClick={(event) => { if (chosen !== null && event.shiftKey) { event.preventDefault(); onChoose(index, true); } }}>
      {picture}
      <span class="card-title" title={row.image_id}>
        <span class="card-name">{name}</span>
        {folder && <span class="card-folder">{folder}</span>}
      </span>
      <span class="card-facts">{facts(row).map((fact) => <span key={fact}>{fact}</span>)}</span>
      <span class="card-facts">
        {place && <span class="tag">{place}</span>}
        {time && <span>{time}</span>}
        {note && <span class="card-note" title={note} data-testid="card-note"><Icon name="note" /> {note}</span>}
        {typeof row.error === "string" && row.error !== "" && <span class="bad" title={row.error}>damaged</span>}
      </span>
      {list && <span class="card-verdict"><VerdictBadge verdict={row.verdict as Verdict} /></span>}
    </a>
    </>
  );
}
