/** Light or dark: as the system has it, until somebody chooses. */

import { computed, effect, signal } from "@preact/signals";

type Theme = "light" | "dark";

const KEY = "kymflow_zarr.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", (event) => (systemDark.value = event.matches));

function kept(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}

const chosen = signal<Theme | null>(kept());

export const theme = computed<Theme>(() => chosen.value ?? (systemDark.value ? "dark" : "light"));

export function toggleTheme(): void {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, chosen.value);
  } catch {
    // A browser that keeps nothing: it holds for this page.
  }
}

export function startTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
  });
}

/** A colour of the style sheet, for what is drawn on a canvas. */
export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const ON_IMAGE = ["#ffb000", "#4cc9f0", "#f72585", "#70e000", "#b388ff", "#ff7f51"];
const ON_PAPER = ["#a86400", "#0077b6", "#c2185b", "#2e7d32", "#6a3fc0", "#bf4416"];

/** A colour of a region over an image. */
export const onImage = (index: number) => ON_IMAGE[index % ON_IMAGE.length]!;

/** The same colour where it stands on the page itself. */
export const onPage = (index: number) =>
  (theme.value === "dark" ? ON_IMAGE : ON_PAPER)[index % ON_IMAGE.length]!;

const EVENT_DARK = ["#ff6b6b", "#5ad1a5", "#ffd166", "#6ea8fe", "#d996ff", "#f4978e", "#8bd3dd", "#c5e063"];
const EVENT_LIGHT = ["#c92a2a", "#0b7a55", "#9a6700", "#1f5fbf", "#8a3ab9", "#b5483c", "#0b7285", "#5c7a00"];

export const eventColor = (index: number, image = false) =>
  (image || theme.value === "dark" ? EVENT_DARK : EVENT_LIGHT)[((index % 8) + 8) % 8]!;
