// A cell of the sessions' table: what stands there and, below it, what is wrong with it.
(function () {
  "use strict";
  const components = window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {};
  components.PlannerCell = function (props) {
    const fault = props.data && props.data.faults && props.data.faults[props.colDef.field];
    if (!fault) { return props.value; }
    const create = window.React.createElement;
    return create("div", { className: "planner-faulty" }, [
      create("span", { key: "value", className: "planner-value" }, props.value === "" ? "(empty)" : props.value),
      create("span", { key: "fault", className: "planner-note" }, "⚠ " + fault)
    ]);
  };

  // Who clicks in the middle of an edit means the table as it then is: the click waits until the server has the edit.
  const WAITING = "#planner-go, #planner-read, #planner-add-row, #planner-remove-rows, #planner-replan";
  const LONGEST_MS = 15000;
  let edits = 0, taken = 0;
  const functions = window.dashAgGridFunctions = window.dashAgGridFunctions || {};
  functions.plannerEdited = function () { edits += 1; };
  document.addEventListener("shell-asks", function (event) {
    if (event.detail.props.join() !== "planner-grid.cellValueChanged") { return; }
    const upTo = edits;
    event.detail.answer.finally(function () { taken = Math.max(taken, upTo); }).catch(function () {});
  });
  function isEdited() {
    return edits > taken || document.querySelector("#planner-grid .ag-cell-inline-editing") !== null;
  }
  document.addEventListener("click", function (event) {
    const button = event.target.closest(WAITING);
    if (!button || button.dataset.waited || !document.getElementById("planner-grid")) { return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    const since = Date.now();
    let quiet = 0;  // the grid tells of an edit, and the page takes an answer, a moment later
    const again = setInterval(function () {
      quiet = isEdited() ? 0 : quiet + 1;
      if (quiet < 2 && Date.now() - since < LONGEST_MS) { return; }
      clearInterval(again);
      const there = document.getElementById(button.id);
      if (!there) { return; }
      there.dataset.waited = "yes";
      there.click();
      delete there.dataset.waited;
    }, 60);
  }, true);

  // From a finding to its cell.
  document.addEventListener("click", function (event) {
    const link = event.target.closest("a[href^='#planner-grid/']");
    if (!link) { return; }
    event.preventDefault();
    const [, line, column] = link.getAttribute("href").split("/");
    window.dash_ag_grid.getApiAsync("planner-grid").then(function (api) {
      const node = api.getRowNode(line);
      if (!node) { return; }
      api.ensureNodeVisible(node, "middle");
      api.ensureColumnVisible(column);
      api.setFocusedCell(node.rowIndex, column);
      document.getElementById("planner-grid").scrollIntoView({ block: "center" });
    });
  });
})();
