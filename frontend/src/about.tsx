import { licencesUrl } from "./api/client";
import type { DatasetInfo } from "./api/types";
import { count, when } from "./lib/format";
import { useLoad } from "./parts/useLoad";
import { publishedList } from "./published/place";

export function About({ info }: { info: DatasetInfo }) {
  const licences = useLoad(licencesUrl, async (address, signal) => {
    const answer = await fetch(address, { signal });
    return answer.ok ? answer.text() : "";
  });
  return (
    <main class="page about" id="main" tabIndex={-1}>
      <h1>About</h1>
      <dl class="facts">
        <dt>Dataset</dt><dd>{info.name}</dd>
        <dt>Id</dt><dd><code>{info.dataset_id}</code></dd>
        {info.created_utc && <><dt>Made</dt><dd>{when(info.created_utc)} UTC</dd></>}
        <dt>Images</dt><dd>{count(info.n_images)}</dd>
        <dt>Tables</dt><dd>{count(info.tables.length)}</dd>
        <dt>kymflow_zarr</dt><dd data-testid="version">{info.version}</dd>
      </dl>
      {publishedList !== null ? <p>This page was published with its dataset, for looking only: <code>ZarrDataset("{new URL(".", location.href).href.replace(/\/$/, "")}", mode="r")</code> reads it in Python.</p> : <p>
        This page and all it consists of is served from this machine by <code>kymflow-zarr view</code>; nothing is
        loaded from elsewhere. {info.editable
          ? "It was started with --edit: each change is one commit with who and when, and can be undone."
          : "It was started for looking only; --edit lets one judge images."}
      </p>}
      <h2>Licences of what the page contains</h2>
      <pre class="licences" tabIndex={0}>{licences.data ?? ""}</pre>
    </main>
  );
}
