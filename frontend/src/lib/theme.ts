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

// The first after Okabe and Ito, "Color Universal Design" (2008), the others searched for on white: a test holds each pair
// apart with every common form of colour blindness.
const EVENT_DARK = ["#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#00b884", "#d55e00", "#a08cff", "#bbbbbb"];
const EVENT_LIGHT = ["#5d97af", "#ff4c0c", "#023d5f", "#c266f6", "#6a2800", "#7b00fc", "#d47364", "#160000"];

export const eventColor = (index: number, image = false) =>
  (image || theme.value === "dark" ? EVENT_DARK : EVENT_LIGHT)[((index % 8) + 8) % 8]!;
