// Tables whose content is in the attribute data-table, drawn as text: one component of the page, however many cells.
(function () {
  "use strict";
  const drawn = new WeakMap();

  function cell(row, kind, text, column, scope) {
    const made = row.appendChild(document.createElement(kind));
    made.textContent = text;
    if (column.number) { made.className = "number"; }
    if (scope) { made.scope = scope; }
  }

  function draw(host) {
    if (drawn.get(host) === host.dataset.table) { return; }
    drawn.set(host, host.dataset.table);
    const told = JSON.parse(host.dataset.table), table = document.createElement("table");
    const head = table.createTHead().insertRow(), body = table.createTBody();
    told.columns.forEach(function (column) { cell(head, "th", column.name, column, "col"); });
    told.rows.forEach(function (values) {
      const row = body.insertRow();
      values.forEach(function (text, i) {
        const heads = i < told.heads;
        cell(row, heads ? "th" : "td", text, told.columns[i], heads ? "row" : "");
      });
    });
    host.replaceChildren(table);
  }

  new MutationObserver(function () { document.querySelectorAll("[data-table]").forEach(draw); })
    .observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-table"] });
})();
