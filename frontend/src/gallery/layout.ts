/** Where the cards of a virtual grid are. */

export interface Layout {
  columns: number;
  cardWidth: number;
  cardHeight: number;
  gap: number;
}

export function layoutFor(width: number, list: boolean): Layout {
  if (list) return { columns: 1, cardWidth: Math.max(200, width), cardHeight: 52, gap: 0 };
  const gap = 14;
  const columns = Math.max(1, Math.floor((width + gap) / (236 + gap)));
  return { columns, cardWidth: Math.floor((width + gap) / columns - gap), cardHeight: 218, gap };
}

export const rowHeight = (layout: Layout) => layout.cardHeight + layout.gap;

export function totalHeight(layout: Layout, n: number): number {
  return Math.max(0, Math.ceil(n / layout.columns) * rowHeight(layout) - layout.gap);
}

/** First and last card in view, with a screen's half before and after. */
export function inView(layout: Layout, n: number, top: number, height: number): [number, number] {
  const step = rowHeight(layout);
  const before = height / 2;
  const first = Math.max(0, Math.floor((top - before) / step)) * layout.columns;
  const last = Math.min(n, Math.ceil((top + height + before) / step) * layout.columns) - 1;
  return [Math.min(first, Math.max(0, n - 1)), last];
}

export function boxOf(layout: Layout, index: number) {
  return {
    left: (index % layout.columns) * (layout.cardWidth + layout.gap),
    top: Math.floor(index / layout.columns) * rowHeight(layout),
    width: layout.cardWidth,
    height: layout.cardHeight,
  };
}

/** The card that a key leads to. */
export function moved(layout: Layout, n: number, index: number, key: string, screen: number): number | null {
  const c = layout.columns;
  const page = Math.max(1, Math.floor(screen / rowHeight(layout))) * c;
  const by: Record<string, number> = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: c, ArrowUp: -c, PageDown: page, PageUp: -page, Home: -index, End: n - 1 - index,
  };
  const step = by[key];
  if (step === undefined || n === 0) return null;
  const to = index + step;
  if (to < 0) return key === "ArrowUp" ? null : 0;
  return Math.min(to, n - 1);
}
