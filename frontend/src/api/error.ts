/** An error as the server tells it: what, where, and what to do. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    readonly what: string,
    readonly where: string | null,
    readonly hint: string | null,
  ) {
    super(what);
  }

  get isConflict(): boolean {
    return this.status === 409 || this.type === "EditConflictError";
  }
}
