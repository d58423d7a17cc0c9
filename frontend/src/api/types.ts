/** What the server answers; docs/design/0015-viewer.md says what it means. */

export type Kind = "text" | "number" | "time" | "list";

export interface Column {
  name: string;
  kind: Kind;
}

export interface DatasetInfo {
  name: string;
  dataset_id: string;
  created_utc: string | null;
  editable: boolean;
  who: string | null;
  /** The columns that are hidden; null: the page is not blind. */
  blind: string[] | null;
  n_images: number;
  tables: { name: string; n_rows: number | null; columns: (string | Column)[]; error?: string }[];
  columns: Column[];
  version: string;
}

export type Verdict = "accepted" | "rejected" | null;

export interface ImageRow {
  image_id: string;
  thumbnail?: string | null;
  verdict?: Verdict;
  shape?: number[] | null;
  [column: string]: unknown;
}

export interface Rows<T> {
  total: number;
  rows: T[];
}

export interface DrawnAxis {
  name: string;
  label: string;
  unit: string;
  step: number;
  size: number;
  calibrated: boolean;
  /** Of samples that are not evenly spaced: positions of some edges, and their values. */
  knots?: { positions: number[]; values: number[] };
}

export interface Roi {
  roi_id: number;
  roi_type: string;
  channel?: number;
  z?: number;
  name?: string;
  note?: string;
  version?: string;
  data: { x0?: number; x1?: number; y0?: number; y1?: number; mask_ref?: string };
  /** Of lines, areas and points: what is drawn, as [x, y] from the center of the first pixel. */
  outline?: [number, number][];
  closed?: boolean;
  meta?: Record<string, unknown>;
}

export interface Slider {
  axis: string;
  name: string;
  size: number;
  labels: string[] | null;
  /** Where one starts: the middle of a stack. */
  at?: number;
}

export interface HistoryChange {
  what: string;
  before: unknown;
  after: unknown;
  roi_id?: number | null;
  artifact_kind?: string | null;
  name?: string | null;
  row?: number | null;
  event_id?: string | null;
  column?: string | null;
}

export interface HistoryEntry {
  edit_id: string;
  who: string;
  when_utc: string;
  changes: HistoryChange[];
  undoes: string | null;
  undone_by: string | null;
}

export interface Series {
  kind: string;
  name: string;
  time_column: string;
  columns: { name: string; unit: string | null }[];
}

/** One thing that a result was made of. */
export interface ResultInput {
  kind: string;
  /** Which one of that kind; of an artifact, its key below the image. */
  key: string;
  sha256: string | null;
  value: unknown;
  selection: string | null;
}

/** What a value was made by and of, and why it is out of date. */
export interface Result {
  label: string;
  name: string;
  roi_id: number | null;
  channel: number | null;
  variant: string | null;
  counts: boolean;
  status: string;
  error: string | null;
  program: string;
  version: string;
  params: Record<string, unknown> | null;
  inputs: ResultInput[];
  computed_utc: string;
  seconds: number | null;
  machine: string;
  artifact: string | null;
  edited: boolean;
  reasons: string[];
}

export interface ImageInfo {
  image_id: string;
  /** What people call it: its file, or its id. */
  name: string;
  revision: string;
  pixels: string;
  shape: number[];
  dtype: string;
  axes: { name: string; quantity: string; unit: string | null; step: number | null }[];
  channel_names: string[] | null;
  plane: {
    rows: number;
    columns: number;
    turned: boolean;
    kymograph: boolean;
    true_to_scale: boolean;
    /** How channels are drawn over each other; null where there is one, or more than four. */
    composite: "rgb" | "tints" | null;
    horizontal: DrawnAxis;
    vertical: DrawnAxis;
  };
  sliders: Slider[];
  /** Of a published image: the steps, along rows and columns of the array, that tiles were made for. */
  levels?: [number, number][];
  wire_dtype?: string;
  contrast: { low: number; high: number; min: number; max: number } | null;
  rois: Roi[];
  metadata: unknown;
  provenance: unknown;
  source: { path?: string; rel_path?: string; [key: string]: unknown } | null;
  source_files: unknown;
  created_utc: string | null;
  updated_utc: string | null;
  acquired: string | null;
  artifacts: { kind: string; name: string; key: string; size_bytes: number; forms: string[]; href?: string; error?: string; stale?: string | null }[];
  results: Result[];
  tables: { name: string; n_rows: number }[];
  series: Series[];
  events: { kind: string; name: string }[];
  curation: { verdict: Verdict; note: string; history: HistoryEntry[] };
  previous: string | null;
  next: string | null;
  /** Which of the listed images it is, from 1; null: it is not, or no longer, one of them. */
  position: number | null;
  n_listed: number;
  ome_zarr: string | null;
  error: string | null;
}

/** One whose pixels may be damaged, so that there is nothing to draw. */
export type AnyImage = Omit<ImageInfo, "plane"> & { plane: ImageInfo["plane"] | null };

export interface Histogram {
  edges: number[];
  counts: number[];
  low: number;
  high: number;
  min: number;
  max: number;
  sampled: boolean;
}

export interface SeriesData {
  time_column: string;
  column: string;
  unit: string | null;
  groups: {
    label: string;
    roi_id: number | null;
    channel: number | null;
    time: (number | null)[];
    values: (number | null)[];
  }[];
}

export type EventRow = Record<string, unknown> & { row: number };

export interface EventsData {
  columns: string[];
  rows: EventRow[];
  types: string[];
  /** What people call events here; each keeps its number key. */
  own_types: string[];
  type_column: string | null;
}

export interface ArtifactData {
  json?: unknown;
  columns?: Column[] | string[];
  total?: number;
  rows?: unknown[][] | Record<string, unknown>[];
  shape?: number[];
  dtype?: string;
}

export interface TableData {
  columns: Column[];
  /** Of how many images the events were edited after the table was saved. */
  edited_since: number;
  /** Of a published table: the file of all its rows. */
  href?: string;
  total: number;
  rows: unknown[][];
}

export interface PlotData {
  kind: "histogram" | "scatter";
  x: string;
  y?: string | null;
  groups: { label: string; edges?: number[]; counts?: number[]; x?: (number | null)[]; y?: (number | null)[] }[];
  total: number;
  sampled: boolean;
}

export interface ValuesData {
  value: string;
  /** The column that tells what each value is of. */
  unit: string;
  /** What people call the images that are points. */
  names: Record<string, string>;
  groups: {
    label: string;
    n_rows: number;
    n_images: number;
    n_units: number;
    mean: number;
    sd: number | null;
    sem: number | null;
    median: number;
    min: number;
    max: number;
    quartiles: (number | null)[];
    units: unknown[];
    values: number[];
  }[];
}

export type Change =
  | { kind: "verdict"; value: Verdict }
  | { kind: "note"; value: string }
  | { kind: "roi"; roi: Partial<Roi> }
  | { kind: "remove_roi"; roi_id: number }
  | { kind: "event_type"; artifact_kind: string; name: string; row: number; value: string | null }
  | { kind: "add_event"; artifact_kind: string; name: string; cells: Record<string, unknown> }
  | { kind: "change_event"; artifact_kind: string; name: string; event: string | number; cells: Record<string, unknown> }
  | { kind: "remove_event"; artifact_kind: string; name: string; event: string | number };

export interface EditAnswer {
  revision: string;
  edit_id: string | null;
  image: AnyImage;
}
