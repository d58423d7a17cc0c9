import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

/** Whether the list stands still: pictures that fly past are not asked for. */
export const still = signal(true);

const loaded = new Set<string>();

export function Thumbnail({ src }: { src: string }) {
  const image = useRef<HTMLImageElement>(null);
  const [failed, setFailed] = useState(false);
  const show = loaded.has(src) || still.value;
  useEffect(() => {
    const element = image.current;
    // One that is still on its way is given up with its card.
    return () => {
      if (element && !element.complete) element.removeAttribute("src");
    };
  }, [show, src]);
  if (failed) return <span class="no-thumb">no picture</span>;
  if (!show) return null;
  return (
    <img ref={image} src={src} alt="" loading="lazy" decoding="async" draggable={false}
      onError={(event) => event.currentTarget.hasAttribute("src") && setFailed(true)}
      onLoad={() => {
        if (loaded.size > 20_000) loaded.clear();
        loaded.add(src);
      }} />
  );
}
