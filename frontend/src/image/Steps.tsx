import type { AnyImage } from "../api/types";
import { count } from "../lib/format";
import { imagePath } from "../lib/router";
import { Icon } from "../parts/icons";
import { goTo } from "./judgekeys";

/** The ways to the images before and after, and where in the list this one is. */
export function Steps({ info }: { info: AnyImage }) {
  return (
    <>
      <Step to={info.previous} label="Previous image" hint="[" icon="left" testid="image-previous" />
      <Step to={info.next} label="Next image" hint="]" icon="right" testid="image-next" />
      {info.n_listed > 0 && <span class="dim" data-testid="position">{info.position ?? "–"} of {count(info.n_listed)}</span>}
    </>
  );
}

function Step({ to, label, hint, icon, testid }: { to: string | null; label: string; hint: string; icon: "left" | "right"; testid: string }) {
  return to ? (
    <a class="icon-button" href={imagePath(to)} onClick={(event) => { event.preventDefault(); goTo(to); }} aria-label={label} title={`${label} (${hint})`} data-testid={testid}><Icon name={icon} /></a>
  ) : (
    <span class="icon-button off" aria-hidden="true"><Icon name={icon} /></span>
  );
}
