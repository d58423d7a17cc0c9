/** The address of the page, as signals; links are followed without loading the page again. */

import { computed, signal } from "@preact/signals";
import { base, linkTo, publishedList, shownAt } from "../published/place";
import { patched, type Patch } from "./query";

const here = signal(shownAt());

export const path = computed(() => here.value.path);
export const search = computed(() => here.value.search);
export const params = computed(() => new URLSearchParams(here.value.search));

export type Route =
  | { page: "gallery" }
  | { page: "image"; id: string }
  | { page: "tables"; name: string | null }
  | { page: "about" }
  | { page: "compare" }
  | { page: "sheet" }
  | { page: "unknown" };

export function routeOf(pathname: string): Route {
  const parts = pathname.split("/").filter(Boolean);
  try {
    const rest = parts.slice(1).map(decodeURIComponent).join("/");
    if (parts.length === 0) return { page: "gallery" };
    if (parts[0] === "image" && rest) return { page: "image", id: rest };
    if (parts[0] === "tables") return { page: "tables", name: rest || null };
    if (parts[0] === "about" && !rest) return { page: "about" };
    if (parts[0] === "compare" && !rest) return { page: "compare" };
    if (parts[0] === "sheet" && !rest) return { page: "sheet" };
  } catch {
    // A broken percent sign.
  }
  return { page: "unknown" };
}

/** What people call the image that is shown, for the title of the page. */
export const shownName = signal<string | null>(null);

export const route = computed(() => routeOf(path.value));

export const imagePath = (id: string) => `/image/${encodeURIComponent(id)}`;
export const tablePath = (name: string) => `/tables/${encodeURIComponent(name)}`;

function set(url: string, push: boolean): void {
  if (push) history.pushState(null, "", linkTo(url));
  else history.replaceState(null, "", linkTo(url));
  here.value = shownAt();
}

// What the gallery was like, so that its tab leads back there.
let galleryUrl = "/";

export function navigate(url: string): void {
  flush();
  if (route.peek().page === "gallery") galleryUrl = path.peek() + search.peek();
  set(url, true);
  scrollTo(0, 0);
}

export const backToGallery = () => navigate(route.peek().page === "gallery" ? "/" : galleryUrl);

let waiting: Patch = {};
let timer = 0;

function flush(): void {
  clearTimeout(timer);
  timer = 0;
  if (Object.keys(waiting).length === 0) return;
  const next = patched(search.peek(), waiting);
  waiting = {};
  if (next !== search.peek()) set(path.peek() + next, false);
}

/** Change the query; by default in place. Browsers allow few changes in a second, so `later`. */
export function setQuery(patch: Patch, how: "now" | "later" | "push" = "now"): void {
  waiting = { ...waiting, ...patch };
  if (how === "later") {
    if (!timer) timer = window.setTimeout(flush, 250);
    return;
  }
  if (how === "push") {
    const next = patched(search.peek(), waiting);
    waiting = {};
    clearTimeout(timer);
    timer = 0;
    if (next !== search.peek()) set(path.peek() + next, true);
    return;
  }
  flush();
}

export function startRouter(): void {
  addEventListener("popstate", () => {
    waiting = {};
    here.value = shownAt();
  });
  addEventListener("pagehide", flush);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (publishedList !== null) {
      event.preventDefault();
      if (link.hash.startsWith("#/")) navigate(link.hash.slice(1));
      else document.querySelector<HTMLElement>(link.hash || "#main")?.focus();
      return;
    }
    const to = link.pathname.slice(base.length) || "/";
    if (!link.pathname.startsWith(base) || routeOf(to).page === "unknown" || link.pathname === location.pathname && link.hash) return;
    event.preventDefault();
    navigate(to + link.search);
  });
}

/** Another address for the same view. */
export const replacePath = (url: string) => set(url, false);
