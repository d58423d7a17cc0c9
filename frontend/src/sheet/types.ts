/** What the server answers about the sheet of metadata. */

export interface SheetField {
  name: string;
  type?: "text" | "number" | "date" | "flag";
  choices?: (string | number | boolean)[];
  unit?: string | null;
  required?: boolean;
  description?: string | null;
}

export interface SheetData {
  total: number;
  offset: number;
  fields: SheetField[];
  rows: { image_id: string; name: string; damaged: boolean; values: Record<string, unknown> }[];
}

export interface Refused {
  row: number;
  image_id: string | null;
  column: string;
  value: unknown;
  reason: string;
}

export interface Saved {
  edit_id: string | null;
  n_values: number;
  ids: string[];
  refused: Refused[];
}
