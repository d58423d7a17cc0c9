import { useState } from "preact/hooks";
import type { Column } from "../api/types";
import { formatFilter, needsValue, OP_LABELS, OPS, parseFilter, type Op } from "../lib/query";
import { Icon } from "../parts/icons";

interface Props {
  columns: Column[];
  where: string[];
  onChange: (where: string[]) => void;
}

const opsFor = (kind: Column["kind"] | undefined): readonly Op[] =>
  kind === "text" ? ["contains", "eq", "ne", "present", "absent"]
  : kind === "list" ? ["contains", "present", "absent"]
  : kind === "number" || kind === "time" ? ["eq", "ne", "lt", "le", "gt", "ge", "present", "absent"]
  : OPS;

/** Conditions as chips, and a form for one more. */
export function Filters({ columns, where, onChange }: Props) {
  const [open, setOpen] = useState(false);
  const [column, setColumn] = useState("");
  const [op, setOp] = useState<Op>("contains");
  const [value, setValue] = useState("");
  const kind = columns.find((one) => one.name === column)?.kind;
  const ops = opsFor(kind);
  const chosen = ops.includes(op) ? op : ops[0]!;
  const add = (event: Event) => {
    event.preventDefault();
    if (!column || (needsValue(chosen) && value === "")) return;
    const text = formatFilter({ column, op: chosen, value });
    if (!where.includes(text)) onChange([...where, text]);
    setValue("");
    setOpen(false);
  };
  return (
    <div class="filters">
      {where.map((text) => {
        const filter = parseFilter(text);
        const label = filter ? `${filter.column} ${OP_LABELS[filter.op]} ${filter.value}`.trim() : text;
        return (
          <span class="chip" key={text} data-testid="filter-chip">
            {label}
            <button type="button" aria-label={`Remove: ${label}`} onClick={() => onChange(where.filter((one) => one !== text))}>
              <Icon name="x" />
            </button>
          </span>
        );
      })}
      {open ? (
        <form class="filter-form" onSubmit={add} data-testid="filter-form"
          onKeyDown={(event) => event.key === "Escape" && setOpen(false)}>
          <select aria-label="Column" data-testid="filter-column" value={column} autofocus onChange={(e) => setColumn(e.currentTarget.value)}>
            <option value="" disabled>column</option>
            {columns.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
          </select>
          <select aria-label="How" data-testid="filter-op" value={chosen} onChange={(e) => setOp(e.currentTarget.value as Op)}>
            {ops.map((one) => <option key={one} value={one}>{OP_LABELS[one]}</option>)}
          </select>
          {needsValue(chosen) && (
            <input aria-label="Value" data-testid="filter-value" value={value} placeholder={kind === "time" ? "2025-07-22" : "value"}
              onInput={(e) => setValue(e.currentTarget.value)} />
          )}
          <button type="submit" class="primary" data-testid="filter-apply">Add</button>
          <button type="button" onClick={() => setOpen(false)}>Cancel</button>
        </form>
      ) : (
        <button type="button" class="quiet" data-testid="filter-add" onClick={() => setOpen(true)}>
          <Icon name="plus" /> Filter
        </button>
      )}
    </div>
  );
}
