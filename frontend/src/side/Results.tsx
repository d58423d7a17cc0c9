import type { AnyImage, Result, ResultInput } from "../api/types";
import { cell, number, when } from "../lib/format";

/** `made by flow.velocity 1.2 (window 16) on 2026-11-30 12:00`, of what is known. */
export function madeBy(result: Result): string {
  const program = [result.program, result.version].filter(Boolean).join(" ") || "an unknown program";
  const params = Object.entries(result.params ?? {}).map(([name, value]) => `${name} ${cell(value)}`).join(", ");
  return `made by ${program}${params && ` (${params})`}, ${when(result.computed_utc)} UTC`;
}

/** What results were made by, and as a tree what they were made of. */
export function Results({ info, results }: { info: AnyImage; results: Result[] }) {
  const shown = new Set<string>();
  return <ul class="results">{results.map((one) => resultTree(info, one, shown))}</ul>;
}

/** Functions, not components, so that each result is shown in full once: the first time that it is met. */
function resultTree(info: AnyImage, result: Result, shown: Set<string>) {
  const took = result.seconds === null ? "" : `in ${number(result.seconds, 3)} s`;
  if (shown.has(result.label)) return <li key={result.label} class="dim">{result.label}: see above</li>;
  shown.add(result.label);
  return (
    <li key={result.label} data-testid="result" data-label={result.label}>
      <div>
        <strong>{result.label}</strong> <span class={result.status === "failed" ? "bad" : "dim"}>{result.status}</span>
        {result.edited && <span class="dim"> changed by hand since</span>}
        {result.variant !== null && result.counts && <span class="dim"> the one that counts</span>}
      </div>
      {result.reasons.length > 0 && <p class="warn" data-testid="result-reasons">out of date: {result.reasons.join("; ")}</p>}
      {result.error && <p class="bad">{result.error}</p>}
      <p class="dim">{madeBy(result)} {took} {result.machine && `on ${result.machine}`}</p>
      {result.inputs.length > 0 && <ul class="inputs">{result.inputs.map((one) => inputLine(info, one, shown))}</ul>}
    </li>
  );
}

function inputLine(info: AnyImage, input: ResultInput, shown: Set<string>) {
  const isIt = (one: Result) => (input.kind === "result" ? one.label === input.key
    : input.kind === "artifact" && one.artifact !== null && one.artifact.endsWith(`/${info.image_id}/${input.key}`));
  const source = info.results.find(isIt);
  const key = input.kind === "artifact" ? input.key.replace(/^analysis(_arrays)?\//, "") : input.key;
  const value = input.value === null ? "" : cell(input.value);
  return (
    <li key={`${input.kind} ${input.key}`} data-testid="result-input">
      <span>{[input.kind, key, input.selection && `[${input.selection}]`].filter(Boolean).join(" ")}</span>
      {value && value.length <= 100 && <span class="dim"> = {value}</span>}
      <span class="dim" title={input.sha256 ?? undefined}> {input.sha256 === null ? "not there" : input.sha256.slice(0, 12)}</span>
      {input.kind === "pixels" && sources(info).map((file) => <div key={file.path} class="dim">from {file.path} {file.sha256?.slice(0, 12)}</div>)}
      {source && <ul class="results">{resultTree(info, source, shown)}</ul>}
    </li>
  );
}

interface SourceFile { path: string; role?: string; sha256?: string }

/** The files that the pixels were read from. */
function sources(info: AnyImage): SourceFile[] {
  const files = Array.isArray(info.source_files) ? (info.source_files as SourceFile[]) : [];
  return files.filter((file) => file.role === "image" || file.role === "member");
}
