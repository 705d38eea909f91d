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
