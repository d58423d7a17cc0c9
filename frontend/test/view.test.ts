import { describe, expect, it } from "vitest";
import { carried, centredOn, clamped, fit, isWhole, panned, viewText, zoomed, type Frame } from "../src/lib/view";
import { parseNumbers } from "../src/lib/query";

const kymograph: Frame = { width: 30000, height: 40, stepX: 0.001, stepY: 0.25, equal: false, pixelsWide: 900, pixelsTall: 300 };
const photo: Frame = { width: 900, height: 700, stepX: 0.5, stepY: 0.5, equal: true, pixelsWide: 1000, pixelsTall: 500 };

describe("fit", () => {
  it("fills both axes of a kymograph", () => expect(fit(kymograph)).toEqual({ x0: 0, x1: 30000, y0: 0, y1: 40 }));
  it("keeps circles round", () => {
    const view = fit(photo);
    expect((view.x1 - view.x0) / photo.pixelsWide).toBeCloseTo((view.y1 - view.y0) / photo.pixelsTall);
    expect(view.y0).toBeCloseTo(0);
    expect(view.y1).toBeCloseTo(700);
    expect(view.x0 + view.x1).toBeCloseTo(900);
  });
});

describe("zoomed", () => {
  it("keeps the point under the mouse where it is", () => {
    for (const frame of [kymograph, photo]) {
      const view = clamped(zoomed(fit(frame), frame, frame.width / 2, frame.height / 2, 4, "both"), frame);
      const [x, y] = [view.x0 + 0.3 * (view.x1 - view.x0), view.y0 + 0.7 * (view.y1 - view.y0)];
      const nearer = zoomed(view, frame, x, y, 1.7, "both");
      expect((x - nearer.x0) / (nearer.x1 - nearer.x0)).toBeCloseTo(0.3, 6);
      expect((y - nearer.y0) / (nearer.y1 - nearer.y0)).toBeCloseTo(0.7, 6);
    }
  });
  it("changes one axis alone", () => {
    const view = zoomed(fit(kymograph), kymograph, 100, 20, 10, "x");
    expect(view.x1 - view.x0).toBeCloseTo(3000);
    expect([view.y0, view.y1]).toEqual([0, 40]);
  });
  it("ends at a few samples and at the whole image", () => {
    let view = fit(kymograph);
    for (let i = 0; i < 60; i++) view = zoomed(view, kymograph, 29999, 39, 2, "both");
    expect(view.x1 - view.x0).toBeCloseTo(4);
    expect(view.x1).toBeLessThanOrEqual(30000);
    for (let i = 0; i < 60; i++) view = zoomed(view, kymograph, 5, 5, 0.5, "both");
    expect(isWhole(view, kymograph)).toBe(true);
  });
});

describe("panned and centred", () => {
  it("stays on the image", () => {
    const view = zoomed(fit(kymograph), kymograph, 0, 0, 10, "x");
    expect(panned(view, kymograph, -1e9, 5).x0).toBe(0);
    expect(panned(view, kymograph, 1e9, 0).x1).toBe(30000);
  });
  it("shows an event whole, and round about it", () => {
    const view = centredOn({ x0: 0, x1: 10, y0: 0, y1: 40 }, kymograph, 1000, 1100);
    expect(view.x0).toBeLessThan(1000);
    expect(view.x1).toBeGreaterThan(1100);
  });
});

it("comes back from the address within a pixel", () => {
  const view = { x0: 1234.56789, x1: 1301.98765, y0: 3.14159, y1: 9.9999 };
  const text = viewText(view, kymograph);
  const [x0, x1] = parseNumbers(text.x, 2)!;
  const pixel = (view.x1 - view.x0) / kymograph.pixelsWide;
  expect(Math.abs(x0! - view.x0)).toBeLessThan(pixel);
  expect(Math.abs(x1! - view.x1)).toBeLessThan(pixel);
});

describe("carried", () => {
  const slow: Frame = { ...kymograph, width: 15000, stepX: 0.002, height: 80, stepY: 0.5 };
  const view = { x0: 1000, x1: 3000, y0: 4, y1: 20 };
  it("keeps seconds and micrometers", () =>
    expect(carried(view, kymograph, slow, { x: true, y: true })).toEqual({ x0: 500, x1: 1500, y0: 2, y1: 10 }));
  it("keeps shares where nothing is measured", () =>
    expect(carried(view, kymograph, slow, { x: false, y: false })).toEqual({ x0: 500, x1: 1500, y0: 8, y1: 40 }));
});
