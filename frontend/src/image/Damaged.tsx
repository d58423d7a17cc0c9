import { useEffect, useMemo } from "preact/hooks";
import { signal } from "@preact/signals";
import type { AnyImage } from "../api/types";
import { ErrorBox } from "../parts/ErrorBox";
import { Artifacts } from "../side/Artifacts";
import { InTables } from "../side/About";
import { Curator } from "../side/curator";
import { Json } from "../side/Json";
import { ConflictBar, History, Note, VerdictButtons } from "../side/Judge";
import { useJudgeKeys } from "./judgekeys";
import { Section } from "../side/Section";
import { Steps } from "./Steps";

/** An image that cannot be drawn: what is wrong, and all that can be read all the same. */
export function Damaged({ first, editable }: { first: AnyImage; editable: boolean }) {
  const shown = useMemo(() => signal(first), []);
  const curator = useMemo(() => (editable && first.revision ? new Curator(() => shown.peek(), (now) => (shown.value = now)) : null), []);
  const info = shown.value;
  useJudgeKeys(() => shown.peek(), curator, () => false);
  useEffect(() => () => curator?.leave(), []);
  const why = info.plane && !info.error ? "The image has no pixels." : (info.error ?? "The image cannot be read.");
  return (
    <main class="page" id="main" tabIndex={-1} data-testid="image-page" data-image-id={info.image_id}>
      <div class="image-head"><Steps info={info} /></div>
      <h1 title={info.image_id}>{info.name}</h1>
      <ErrorBox error={why} />
      {curator && <ConflictBar curator={curator} />}
      {curator && <p><VerdictButtons curator={curator} verdict={info.curation.verdict} /></p>}
      {(curator || info.curation.history.length > 0) && (
        <Section id="judge" title="Judgement" count={info.curation.history.length || undefined} open>
          {curator && <Note curator={curator} info={info} />}
          <History curator={curator} info={info} />
        </Section>
      )}
      {info.metadata !== null && <Section id="metadata" title="Metadata" open><Json value={info.metadata} /></Section>}
      {info.provenance !== null && <Section id="provenance" title="Provenance"><Json value={info.provenance} /></Section>}
      <Section id="artifacts" title="Artifacts" count={info.artifacts.length}><Artifacts info={info} /></Section>
      <Section id="tables" title="In tables"><InTables info={info} /></Section>
    </main>
  );
}
