// Theme, the current page's tab, and native selects whose choice callbacks can read.
(function () {
  "use strict";
  const ORDER = ["auto", "light", "dark"];
  const WORDS = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let wanted = "auto";
  try {
    wanted = ORDER.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto";
  } catch (e) { /* storage is forbidden: as the system */ }

  function theme() {
    return wanted === "auto" ? (dark.matches ? "dark" : "light") : wanted;
  }

  function show() {
    document.documentElement.dataset.theme = theme();
    const button = document.getElementById("shell-theme-switch");
    if (button) { button.textContent = WORDS[wanted]; }
  }

  function tell() {
    show();
    if (window.dash_clientside && window.dash_clientside.set_props) {
      window.dash_clientside.set_props("shell-theme", { data: theme() });
    }
  }

  show();
  dark.addEventListener("change", tell);

  document.addEventListener("click", function (event) {
    if (event.target.id === "shell-theme-switch") {
      wanted = ORDER[(ORDER.indexOf(wanted) + 1) % ORDER.length];
      try { localStorage.setItem("theme", wanted); } catch (e) { /* for this page only */ }
      tell();
    }
  });

  // What the server does not answer, or refuses as a whole, is said; otherwise nothing would happen.
  const WHY = {
    401: "The server wants its token: open the page anew.",
    403: "The server refuses this page: open it by the address that the server printed.",
    413: "That is larger than the server takes: give a smaller file, or parts of it."
  };
  const SILENT = "The server does not answer: see whether it is running. Nothing that it has kept is lost.";
  let isSilent = false;
  function say(words) {
    const set = window.dash_clientside.set_props;
    if (!set) { return; }
    isSilent = words === SILENT;
    set("shell-alert", { children: words });
  }
  // A button with data-busy says so, and takes no further click, until the answer to its own click is there.
  function changed(options) {
    const asked = JSON.parse((options && options.body) || "{}");
    return asked.changedPropIds || [];
  }
  function pressed(props) {
    return props.map(function (one) { return one.replace(/\.n_clicks$/, ""); }).filter(function (id) {
      const button = document.getElementById(id);
      return button && button.dataset.busy;
    });
  }
  function busy(ids, isBusy) {
    ids.forEach(function (id) {
      const button = document.getElementById(id);
      if (!button) { return; }
      window.dash_clientside.set_props(id, { disabled: isBusy });
      window.dash_clientside.set_props(id + "-busy", { children: isBusy ? button.dataset.busy : "" });
    });
  }
  const ask = window.fetch;
  window.fetch = function (resource, options) {
    const ours = String(resource.url || resource).includes("_dash-update-component");
    const props = ours ? changed(options) : [];
    const buttons = pressed(props);
    busy(buttons, true);
    const answer = ask.apply(this, arguments);
    if (ours) { document.dispatchEvent(new CustomEvent("shell-asks", { detail: { props: props, answer: answer } })); }
    return answer.finally(function () { busy(buttons, false); }).then(function (response) {
      if (ours && response.status >= 400) { say(WHY[response.status] || "The server failed; its log says why."); }
      else if (ours && isSilent) { say(""); }
      return response;
    }, function (error) {
      if (ours) { say(SILENT); }
      throw error;
    });
  };
  document.addEventListener("click", function (event) {
    const alert = document.getElementById("shell-alert");
    if (event.target.closest("button") && alert && alert.textContent) { say(""); }
  }, true);

  // A native select tells its store (data-store) what was chosen.
  document.addEventListener("change", function (event) {
    const store = event.target.dataset && event.target.dataset.store;
    if (store) {
      const id = store.startsWith("{") ? JSON.parse(store) : store;
      window.dash_clientside.set_props(id, { data: event.target.value });
    }
  });

  // What Dash's components cannot say: names of uploads, and the hint and fault that belong to a field.
  function tie() {
    document.querySelectorAll("[data-name] input[type=file]").forEach(function (input) {
      const name = input.closest("[data-name]").dataset.name;
      if (input.getAttribute("aria-label") !== name) { input.setAttribute("aria-label", name); }
    });
    document.querySelectorAll(".ag-picker-field-wrapper:not([aria-label])").forEach(function (picker) {
      picker.setAttribute("aria-label", "Choose");
    });
    document.querySelectorAll(".shell-field").forEach(function (field) {
      const control = field.querySelector("input, select, textarea");
      const texts = field.querySelectorAll(".shell-hint, .shell-fault:not(:empty)");
      const ids = Array.from(texts, function (text) { return text.id; }).join(" ");
      if (!control) { return; }
      if ((control.getAttribute("aria-describedby") || "") !== ids) { control.setAttribute("aria-describedby", ids); }
      const bad = String(field.querySelector(".shell-fault:not(:empty)") !== null);
      if (control.getAttribute("aria-invalid") !== bad) { control.setAttribute("aria-invalid", bad); }
    });
  }
  // Tables come as data; a table of Dash's components would take seconds.
  function fill(frame) {
    const data = frame.dataset.table;
    if (frame.filled === data || frame.closest("details:not([open])")) { return; }  // those are filled when opened
    frame.filled = data;
    const held = JSON.parse(data);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    held.head.forEach(function (name, column) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      cell.className = held.numeric[column] ? "number" : "";
      head.appendChild(cell);
    });
    const body = table.createTBody();
    held.rows.forEach(function (values, row) {
      const line = body.insertRow();
      values.forEach(function (value, column) {
        const cell = line.appendChild(document.createElement(column === 0 ? "th" : "td"));
        if (column === 0) { cell.scope = "row"; }
        cell.className = held.numeric[column] ? "number" : "";
        if (column === 0 && held.links[row]) {
          const link = document.createElement("a");
          link.href = held.links[row];
          link.textContent = value;
          cell.appendChild(link);
        } else {
          cell.textContent = value;
        }
      });
    });
    frame.replaceChildren(table);
  }

  // What is drawn anew, or was disabled while it worked, keeps the focus that it had.
  let last = null;
  document.addEventListener("focusin", function (event) { last = event.target; });
  document.addEventListener("pointerdown", function () { last = null; });
  function refocus() {
    const active = document.activeElement;
    if (!last || !last.id || (active && active !== document.body)) { return; }
    const same = document.getElementById(last.id);
    if (same && !same.disabled) { same.focus({ preventScroll: true }); }
  }

  document.addEventListener("toggle", function () { document.querySelectorAll("[data-table]").forEach(fill); }, true);

  new MutationObserver(function () {
    tie();
    refocus();
    document.querySelectorAll("[data-table]").forEach(fill);
  }).observe(document, {
    childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["data-table", "disabled"]
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.shell = {
    // When a page has come: its name in the title, its tab marked, the theme told to figures.
    arrived: function (heading) {
      show();
      document.title = (heading ? heading + " · " : "") + "Feeder co-simulation";
      const tabs = document.querySelectorAll(".shell-tab");
      tabs.forEach(function (tab, number) {
        const path = window.location.pathname;
        const here = tab.dataset.path === path || (path === "/" && number === 0);
        if (here) { tab.setAttribute("aria-current", "page"); } else { tab.removeAttribute("aria-current"); }
      });
      return theme();
    }
  };
})();
