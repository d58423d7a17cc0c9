/** The dataset that is open, as the server tells it. */

import { signal } from "@preact/signals";
import { getJson } from "./api/client";
import type { DatasetInfo } from "./api/types";

export const dataset = signal<DatasetInfo | null>(null);
export const datasetError = signal<unknown>(null);

export async function loadDataset(): Promise<void> {
  datasetError.value = null;
  try {
    dataset.value = await getJson<DatasetInfo>("/api/dataset");
  } catch (error) {
    datasetError.value = error;
  }
}
