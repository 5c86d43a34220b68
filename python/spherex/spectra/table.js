"use strict";
const byId = (id) => document.getElementById(id);
const shown = (value, digits) => value == null ? "" : typeof value === "number" ? value.toFixed(digits) : String(value);

// A text that may be broken after these characters.
const breakable = (text) => text.split(/(?<=[/_.])/).flatMap((part, index) => index ? [document.createElement("wbr"), part] : [part]);

// A table whose headings sort it, of at most some rows.
// Columns are [key, heading, digits, classes of a text, key of the link of a text].
function fill(table, columns, rows, onClick, most = Infinity) {
  // Kept with the table: a search fills it again.
  const sorting = table.sorting ??= { order: null, sign: 1 };
  const body = table.tBodies[0];
  const draw = () => {
    const sorted = [...rows];
    if (sorting.order !== null) {
      const rank = (row) => row[sorting.order] ?? -Infinity;
      sorted.sort((a, b) => sorting.sign * (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : 0));
    }
    body.replaceChildren(...sorted.slice(0, most).map((row) => {
      const line = document.createElement("tr");
      for (const [key, , digits, textClass, link] of columns) {
        const cell = line.insertCell();
        if (link && row[link]) {
          const anchor = document.createElement("a");
          anchor.href = row[link];
          anchor.append(...breakable(row[key]));
          cell.append(anchor);
        } else if (textClass === "words") cell.append(...breakable(shown(row[key])));
        else cell.textContent = shown(row[key], digits);
        if (textClass) cell.className = textClass;
      }
      if (row.name !== undefined) line.dataset.name = row.name;
      // A link opens by itself, perhaps in another tab.
      line.addEventListener("click", (event) => event.target.closest("a") || onClick(row, line));
      return line;
    }));
  };
  const heading = document.createElement("tr");
  for (const [key, title, , textClass] of columns) {
    const cell = document.createElement("th");
    if (textClass) cell.className = textClass;
    cell.textContent = title;
    cell.addEventListener("click", () => {
      sorting.sign = sorting.order === key ? -sorting.sign : 1;
      sorting.order = key;
      draw();
    });
    heading.append(cell);
  }
  table.tHead.replaceChildren(heading);
  draw();
}

const matching = (targets, text) => targets.filter((target) => target.name.toLowerCase().includes(text.toLowerCase()));
const targetColumns = (link) => [
  ["name", "name", 0, "words", link], ["ra", "RA (deg)", 5], ["dec", "Dec (deg)", 5],
  ["measurements", "measure\u00ADments", 0], ["good", "good", 0], ["signal", "median S/N", 1],
];
