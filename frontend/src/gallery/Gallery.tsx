import { useComputed } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { DatasetInfo, Verdict } from "../api/types";
import { loadDataset } from "../dataset";
import { count, plural } from "../lib/format";
import { patched } from "../lib/query";
import { params, setQuery } from "../lib/router";
import { useTyped } from "../lib/typed";
import { ErrorBox } from "../parts/ErrorBox";
import { Icon } from "../parts/icons";
import { useKeys } from "../parts/keys";
import { advancing } from "../side/Judge";
import { useChanges } from "../parts/useChanges";
import { Card } from "./Card";
import { Choice } from "./choice";
import { ChoiceBar } from "./ChoiceBar";
import { Filters } from "./Filters";
import { boxOf, inView, layoutFor, moved, rowHeight, totalHeight } from "./layout";
import { still } from "./Thumbnail";
import { PAGE, RowStore } from "./rows";

// It outlives the page of one image, so that the way back is at once.
const store = new RowStore();
const choice = new Choice(store);

export function Gallery({ info }: { info: DatasetInfo }) {
  // Not where one has scrolled to, which is in the address too.
  const asked = useComputed(() => patched(params.value.toString(), { row: null })).value;
  const query = new URLSearchParams(asked);
  const q = query.get("q") ?? "";
  const sort = query.get("sort") ?? "";
  const descending = query.get("descending") === "true";
  const list = query.get("as") === "list";
  const where = query.getAll("where");
  const search = useRef<HTMLInputElement>(null);
  const [typed, type] = useTyped(q, 30, (text) => setQuery({ q: text, row: null }));

  useEffect(() => store.ask({ q, sort, descending, where }), [q, sort, descending, where.join("\n")]);
  useEffect(() => store.refresh(), []);
  const seen = useRef<string | null>(null);
  useChanges(undefined, ({ list }) => {
    if (seen.current !== null && seen.current !== list) {
      store.refresh();
      void loadDataset();
    }
    seen.current = list;
  }, 3000);
  useKeys((event) => {
    if (event.key === "/") search.current?.select();
    return event.key === "/";
  });
  const total = store.total.value;
  return (
    <main class="gallery" id="main" tabIndex={-1}>
      <h1 class="unseen">Images of {info.name}</h1>
      <div class="toolbar" role="search">
        <label class="search">
          <Icon name="search" />
          <input ref={search} type="search" placeholder="Search images" aria-label="Search images" data-testid="gallery-search"
            value={typed} onInput={(e) => type(e.currentTarget.value)}
            onKeyDown={(e) => {
              if (e.key === "Escape") { type(""); e.currentTarget.blur(); }
              if (e.key === "ArrowDown") document.querySelector<HTMLElement>(".cards a[tabindex='0']")?.focus();
            }} />
          <kbd>/</kbd>
        </label>
        <Filters columns={info.columns} where={where} onChange={(next) => setQuery({ where: next, row: null }, "push")} />
        <span class="spacer" />
        <span class="count" data-testid="gallery-count" data-total={total ?? ""} role="status">
          {total === null ? "…" : total === info.n_images ? plural(total, "image") : `${count(total)} of ${plural(info.n_images, "image")}`}
        </span>
        <label class="sort">
          <span>Sort</span>
          <select data-testid="gallery-sort" value={sort} onChange={(e) => setQuery({ sort: e.currentTarget.value, row: null }, "push")}>
            <option value="">as in the dataset</option>
            {info.columns.map((c) => <option key={c.name} value={c.name}>{c.name}</option>)}
          </select>
        </label>
        <button type="button" class="icon-button" data-testid="gallery-descending" aria-pressed={descending} disabled={!sort}
          aria-label={descending ? "Descending" : "Ascending"} title={descending ? "Descending" : "Ascending"}
          onClick={() => setQuery({ descending: descending ? null : "true", row: null }, "push")}>
          <Icon name={descending ? "down" : "up"} />
        </button>
        <span class="switch" role="group" aria-label="Grid or list">
          <button type="button" class="icon-button" aria-pressed={!list} aria-label="Grid" title="Grid" data-testid="as-grid"
            onClick={() => setQuery({ as: null })}><Icon name="grid" /></button>
          <button type="button" class="icon-button" aria-pressed={list} aria-label="List" title="List" data-testid="as-list"
            onClick={() => setQuery({ as: "list" })}><Icon name="list" /></button>
        </span>
      </div>
      <ErrorBox error={store.error.value} retry={() => store.again()} />
      {info.editable && <ChoiceBar choice={choice} blind={info.blind !== null} total={total ?? 0} list={patched(asked, { as: null }).slice(1)} />}
      <Cards list={list} editable={info.editable} question={patched(asked, { as: null }).slice(1)} empty={info.n_images === 0} />
    </main>
  );
}

const VERDICTS: Record<string, Verdict> = { a: "accepted", r: "rejected", u: null };

function Cards({ list, editable, question, empty }: { list: boolean; editable: boolean; question: string; empty: boolean }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [box, setBox] = useState({ width: 0, height: 0 });
  const [top, setTop] = useState(0);
  const [active, setActive] = useState(0);
  const focus = useRef(false);
  const total = store.total.value ?? 0;
  // Drawn again as rows come.
  void store.version.value;
  const layout = useMemo(() => layoutFor(box.width, list), [box.width, list]);

  useLayoutEffect(() => {
    const element = scroller.current!;
    const measure = () => {
      const style = getComputedStyle(element);
      setBox({
        width: element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
        height: element.clientHeight,
      });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // Keys may come faster than cards are drawn: which image the next one is for is known at once.
  const at = useRef<{ index: number; id: string | undefined }>({ index: 0, id: undefined });
  const goTo = (index: number) => {
    at.current = { index, id: store.row(index)?.image_id };
    setActive(index);
  };

  // The way back leads to where one was; another question leads to the top.
  const asked = useRef<string | null>(null);
  useLayoutEffect(() => {
    if (!box.width || store.total.value === null || asked.current === question) return;
    const first = asked.current === null;
    asked.current = question;
    const row = first ? Number(params.peek().get("row") ?? 0) : 0;
    scroller.current!.scrollTop = boxOf(layout, row).top;
    goTo(Math.max(0, Math.min(row, total - 1)));
  }, [box.width, total, question]);

  const [first, last] = box.width ? inView(layout, total, top, box.height) : [0, -1];
  useEffect(() => {
    if (last >= first && total > 0) store.want(first, last);
  }, [first, last, total, store.version.value]);

  useEffect(() => {
    // Where the last key led to, should more of them have come since this was drawn.
    const card = focus.current && scroller.current?.querySelector<HTMLElement>(`[data-index="${at.current.index}"]`);
    if (!card) return;
    focus.current = false;
    card.focus({ preventScroll: true });
  }, [active, top]);

  const within = useRef(false);
  useEffect(() => {
    const note = (event: FocusEvent) => { within.current = (event.target as Element).matches("[data-testid=card]"); };
    document.addEventListener("focusin", note);
    return () => document.removeEventListener("focusin", note);
  }, []);
  // A list that became shorter, as its images were judged: the focus stays on its image, or goes to the next one.
  useEffect(() => {
    const { index, id } = at.current;
    if (id !== undefined && total > 0) {
      const near = Array.from({ length: 2 * PAGE }, (_, i) => index - PAGE + i).filter((i) => store.row(i)?.image_id === id);
      goTo(near[0] ?? Math.min(index, total - 1));
    }
    if (document.activeElement === document.body && within.current) {
      scroller.current?.querySelector<HTMLElement>(`[data-index="${at.current.index}"]`)?.focus({ preventScroll: true });
    }
  }, [store.version.value]);

  const anchor = useRef<number | null>(null);
  const choose = (index: number, range: boolean) => {
    const row = store.row(index);
    if (range && anchor.current !== null) void choice.span(anchor.current, index);
    else if (row) choice.toggle(row.image_id, row.verdict ?? null);
    if (!range || anchor.current === null) anchor.current = index;
  };
  const walk = (to: number) => {
    focus.current = true;
    const card = boxOf(layout, to);
    const element = scroller.current!;
    if (card.top < element.scrollTop) element.scrollTop = card.top;
    else if (card.top + card.height > element.scrollTop + box.height - 24) element.scrollTop = card.top + card.height - box.height + 24;
    setTop(element.scrollTop);
    goTo(to);
  };
  const chosen = choice.images.value;
  useKeys((event) => {
    if (!editable) return false;
    if (event.key === "Escape") choice.clear();
    else if (event.key === "z") choice.undo();
    else if (event.key in VERDICTS) {
      const verdict = VERDICTS[event.key]!;
      if (choice.images.peek().size) {
        choice.judge(choice.images.peek(), verdict);
        return true;
      }
      const { index, id } = at.current;
      if (!within.current || id === undefined) return false;
      choice.judge(new Map([[id, store.verdictOf(id) ?? null]]), verdict);
      if (advancing.peek() && verdict && index + 1 < (store.total.peek() ?? 0)) walk(index + 1);
    } else return false;
    return true;
  }, [editable, layout, box]);

  const onKey = (event: KeyboardEvent) => {
    if (editable && (event.ctrlKey || event.metaKey) && event.key === "a") {
      event.preventDefault();
      void choice.span(0, total - 1);
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { index } = at.current;
    if (editable && event.key === " ") {
      event.preventDefault();
      choose(index, false);
      return;
    }
    const to = moved(layout, total, index, event.key, box.height);
    if (to === null) return;
    event.preventDefault();
    if (editable && event.shiftKey) {
      anchor.current ??= index;
      void choice.span(anchor.current, to);
    } else anchor.current = null;
    walk(to);
  };
  const resting = useRef(0);
  const onScroll = () => {
    still.value = false;
    clearTimeout(resting.current);
    resting.current = window.setTimeout(() => (still.value = true), 100);
    const element = scroller.current;
    if (!element) return;
    setTop(element.scrollTop);
    const row = Math.round(element.scrollTop / rowHeight(layout)) * layout.columns;
    setQuery({ row: row || null }, "later");
  };
  const shown = [];
  for (let i = first; i <= last; i++) shown.push(i);
  const focusable = active >= first && active <= last ? active : first;
  return (
    <div class={list ? "cards as-list" : "cards"} ref={scroller} onScroll={onScroll} onKeyDown={onKey} data-testid="cards">
      {total === 0 && store.total.value !== null && !store.error.value && (
        empty ? <p class="empty">The dataset holds no images yet. <code>kymflow-zarr ingest</code> adds those of a folder; they then show here.</p>
        : <p class="empty">No images match. <button type="button" onClick={() => setQuery({ q: null, where: null }, "push")}>Show all</button></p>
      )}
      <div class="cards-inner" role="group" aria-label="Images" style={{ height: `${totalHeight(layout, total)}px` }}>
        {shown.map((i) => (
          <Card key={store.row(i)?.image_id ?? `waiting ${i}`} index={i} row={store.row(i)} list={list} active={i === focusable} from={question}
            box={boxOf(layout, i)} onFocus={goTo}
            chosen={editable ? chosen.has(store.row(i)?.image_id ?? "") : null} onChoose={choose} />
        ))}
      </div>
    </div>
  );
}
