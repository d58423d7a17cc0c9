import { ApiError } from "../api/client";

/** An error as the server tells it: what, where, and what to do. */
export function ErrorBox({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const api = error instanceof ApiError ? error : null;
  const what = api?.what ?? (error instanceof Error ? error.message : String(error));
  return (
    <div class="error-box" role="alert" data-testid="error">
      <p class="error-what">{what}</p>
      {api?.where && (
        <p>
          <span class="dim">Where:</span> <code>{api.where}</code>
        </p>
      )}
      {api?.hint && <p>{api.hint}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
