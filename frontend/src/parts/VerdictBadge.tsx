import type { Verdict } from "../api/types";
import { Icon } from "./icons";

export function VerdictBadge({ verdict }: { verdict: Verdict | undefined }) {
  if (verdict !== "accepted" && verdict !== "rejected") return null;
  return (
    <span class={`badge ${verdict}`} data-testid="verdict-badge">
      <Icon name={verdict === "accepted" ? "check" : "x"} /> {verdict}
    </span>
  );
}
