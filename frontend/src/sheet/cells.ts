/** Rows and cells of text that a spreadsheet has put on the clipboard: tabs, and quotes around what holds one. */
export function cellsOf(text: string): string[][] {
  const rows: string[][] = [[]];
  const source = text.replace(/\r\n?/g, "\n").replace(/\n$/, "");
  let at = 0;
  while (at <= source.length) {
    let cell = "";
    if (source[at] === '"') {
      const quoted = /^"((?:[^"]|"")*)"(?=[\t\n]|$)/.exec(source.slice(at));
      if (quoted) {
        cell = quoted[1]!.replace(/""/g, '"');
        at += quoted[0].length;
      } else at = plain();
    } else at = plain();
    rows[rows.length - 1]!.push(cell);
    if (source[at] === "\n") rows.push([]);
    at += 1;

    function plain(): number {
      const end = source.slice(at).search(/[\t\n]/);
      const to = end < 0 ? source.length : at + end;
      cell = source.slice(at, to);
      return to;
    }
  }
  return rows;
}
