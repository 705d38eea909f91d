// The map of a run's day. All values of the day are here, so that the slider recolours it without asking the server.
// Drawn as SVG of its own: recolouring sets only the strokes that change, panning moves two groups.
(function () {
  "use strict";
  const NONE = 65535, SVG = "http://www.w3.org/2000/svg", MARGIN = 16;
  const SHAPES = { home: "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z", above: "M-7,5.5L0,-7.5L7,5.5z",
    below: "M-7,-5.5L0,7.5L7,-5.5z", transformer: "M-7,-7h14v14h-14z", over: "M-10,0L0,-10L10,0L0,10z" };
  const maps = new Map(), decoded = new WeakMap();
  let playing = null;

  function numbers(text) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) { bytes[i] = raw.charCodeAt(i); }
    return new Uint16Array(bytes.buffer);
  }

  function decode(values) {
    if (!decoded.has(values)) { decoded.set(values, { lines: numbers(values.lines), points: numbers(values.points) }); }
    return decoded.get(values);
  }

  function element(name, parent, attributes) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes || {}).forEach(function (entry) { made.setAttribute(entry[0], entry[1]); });
    return parent.appendChild(made);
  }

  function FeederMap(host, base) {
    this.host = host;
    this.base = base;
    host.replaceChildren();
    const svg = this.svg = element("svg", host, { width: "100%", height: "100%", "aria-hidden": "true" });
    this.below = element("g", svg, { class: "feeder-lines" });
    this.above = element("g", svg, {});
    const paths = base.lines.map(function (_, i) {
      const at = base.ends.slice(4 * i, 4 * i + 4);
      return "M" + at[0] + "," + at[1] + "L" + at[2] + "," + at[3];
    });
    element("path", this.below, { class: "feeder-casing", d: paths.join("") });
    this.lines = paths.map((path, i) => element("path", this.below, { d: path, "data-line": i }));
    this.points = base.points.map((point, i) => element("path", this.above, { "data-point": i, class: "feeder-point" }));
    this.tip = host.appendChild(document.createElement("div"));
    this.tip.className = "feeder-tip";
    this.lineClass = new Int16Array(this.lines.length).fill(-2);
    this.pointClass = this.points.map(function () { return ""; });
    this.fit();
    new ResizeObserver(() => { if (!this.moved) { this.fit(); } }).observe(host);
    this.listen();
  }

  FeederMap.prototype.fit = function () {
    const box = this.host.getBoundingClientRect(), extent = this.base.extent;
    this.scale = Math.min((box.width - 2 * MARGIN) / extent[0], (box.height - 2 * MARGIN) / extent[1]);
    this.x = box.width / 2;
    this.y = box.height / 2;
    this.moved = false;
    this.place();
  };

  FeederMap.prototype.place = function () {
    const k = this.scale;
    this.below.setAttribute("transform", "matrix(" + [k, 0, 0, -k, this.x, this.y].join(" ") + ")");
    this.pan();
    this.points.forEach((point, i) => {
      const at = this.base.points[i];
      point.setAttribute("transform", "translate(" + k * at.x + " " + -k * at.y + ")");
    });
  };

  FeederMap.prototype.pan = function () {
    const k = this.scale;
    this.below.setAttribute("transform", "matrix(" + [k, 0, 0, -k, this.x, this.y].join(" ") + ")");
    this.above.setAttribute("transform", "translate(" + this.x + " " + this.y + ")");
  };

  FeederMap.prototype.zoom = function (by, x, y) {
    const box = this.host.getBoundingClientRect();
    const cx = x === undefined ? box.width / 2 : x - box.left, cy = y === undefined ? box.height / 2 : y - box.top;
    this.x = cx + (this.x - cx) * by;
    this.y = cy + (this.y - cy) * by;
    this.scale *= by;
    this.moved = true;
    this.place();
  };

  // While it is dragged the picture is moved as it is, which costs no drawing; put down, it is drawn at its place.
  FeederMap.prototype.drag = function (dx, dy) {
    this.svg.style.transform = dx || dy ? "translate(" + dx + "px," + dy + "px)" : "";
  };

  FeederMap.prototype.move = function (dx, dy) {
    this.x += dx;
    this.y += dy;
    this.moved = true;
    this.pan();
  };

  FeederMap.prototype.act = function (key) {
    const acts = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (acts[key]) { this.move.apply(this, acts[key]); }
    else if (key === "+" || key === "=") { this.zoom(1.3); }
    else if (key === "-") { this.zoom(1 / 1.3); }
    else if (key === "0") { this.fit(); }
    else { return false; }
    return true;
  };

  FeederMap.prototype.listen = function () {
    const host = this.host;
    let from = null, dragged = false;
    const by = (event) => [event.clientX - from[0], event.clientY - from[1]];
    host.onpointerdown = (event) => { from = [event.clientX, event.clientY]; dragged = false; };
    host.onpointermove = (event) => {
      if (!from || !(event.buttons & 1)) { this.hover(event); return; }
      const far = by(event);
      if (!dragged && Math.hypot(far[0], far[1]) < 4) { return; }
      if (!dragged) { host.setPointerCapture(event.pointerId); this.tip.hidden = true; }
      dragged = true;
      this.drag(far[0], far[1]);
    };
    const put = (event) => {
      if (dragged) {
        this.drag(0, 0);
        this.move.apply(this, by(event));
      }
      from = null;
    };
    host.onpointerup = (event) => {
      const at = event.target.dataset && event.target.dataset.point;
      if (!dragged && at !== undefined && this.base.points[at].home) { choose(this.base.points[at].name); }
      put(event);
    };
    host.onpointercancel = put;
    host.onpointerleave = () => { this.tip.hidden = true; };
    host.onkeydown = (event) => { if (!event.ctrlKey && !event.metaKey && this.act(event.key)) { event.preventDefault(); } };
    host.addEventListener("wheel", (event) => {
      if (document.activeElement !== host && !event.ctrlKey) { return; }  // a page that scrolls by is not caught
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
  };

  FeederMap.prototype.words = function (value) {
    return Number.isNaN(value) ? "" : ": " + (value * this.base.factor).toFixed(this.base.digits) + " " + this.base.unit;
  };

  FeederMap.prototype.hover = function (event) {
    const told = event.target.dataset || {}, point = this.base.points[told.point], box = this.host.getBoundingClientRect();
    this.tip.hidden = told.line === undefined && !point;
    if (this.tip.hidden) { return; }
    this.tip.textContent = point ? point.name + this.words(this.value("points", told.point)) + (point.words ? ", " + point.words : "")
      : this.base.lines[told.line] + this.words(this.value("lines", told.line));
    this.tip.style.left = Math.min(event.clientX - box.left + 12, box.width - 150) + "px";
    this.tip.style.top = event.clientY - box.top + 12 + "px";
  };

  FeederMap.prototype.value = function (kind, i) {
    if (!this.values) { return NaN; }
    const code = decode(this.values)[kind][this.step * this.base[kind].length + Number(i)];
    return code === NONE ? NaN : code * this.values.step;
  };

  FeederMap.prototype.classOf = function (value) {
    if (Number.isNaN(value)) { return -1; }
    const edges = this.base.edges;
    let at = 0;
    while (at < edges.length && value >= edges[at]) { at++; }
    return at;
  };

  FeederMap.prototype.colour = function (step, values, chosen) {
    const base = this.base;
    this.values = values;
    this.step = values ? Math.max(0, Math.min(step, values.steps - 1)) : 0;
    for (let i = 0; i < this.lines.length; i++) {
      const own = this.classOf(this.value("lines", i));
      if (own === this.lineClass[i]) { continue; }
      this.lineClass[i] = own;
      this.lines[i].style.stroke = own < 0 ? "none" : base.colours[own];
      this.lines[i].classList.toggle("over", base.wide[own] === true);
    }
    for (let i = 0; i < this.points.length; i++) {
      const point = base.points[i], value = this.value("points", i), own = this.classOf(value);
      const over = point.upper !== null && value > point.upper, under = point.lower !== null && value < point.lower;
      const shape = point.home ? (over ? "above" : under ? "below" : "home") : over ? "over" : "transformer";
      const key = own + shape + (point.home && point.name === chosen);
      if (key === this.pointClass[i]) { continue; }
      this.pointClass[i] = key;
      this.points[i].setAttribute("d", SHAPES[shape]);
      this.points[i].dataset.shape = shape;
      this.points[i].style.fill = own < 0 ? "" : base.colours[own];
      this.points[i].classList.toggle("chosen", point.home && point.name === chosen);
    }
    this.host.dataset.step = this.step;
    return values ? values.binding[this.step] : "";
  };

  // The list of customers is as long as the feeder: it is filled here, as every component costs the page time.
  function offer(base) {
    const select = document.getElementById("feeder-customer-choice");
    const homes = base.points.filter((point) => point.home);
    if (!select || select.options.length === homes.length) { return; }
    homes.forEach((home) => select.add(new Option(home.name + ", " + home.words, home.name)));
    choose(homes[0].name);
  }

  function choose(customer) {
    const select = document.getElementById("feeder-customer-choice");
    if (select) { select.value = customer; }
    window.dash_clientside.set_props("feeder-customer", { data: customer });
  }

  function stop() {
    clearInterval(playing);
    playing = null;
    document.querySelectorAll(".feeder-binding").forEach((one) => one.setAttribute("aria-live", "polite"));
    window.dash_clientside.set_props("feeder-play", { children: "Play the day" });
  }

  document.addEventListener("click", function (event) {
    const told = event.target.dataset || {}, map = maps.get(told.map);
    if (map) { map.act(told.act); }
    if (told.ticks) {  // a box among several, which together fill a store
      event.target.setAttribute("aria-checked", String(event.target.getAttribute("aria-checked") !== "true"));
      const boxes = document.querySelectorAll('[data-ticks="' + told.ticks + '"][aria-checked="true"]');
      window.dash_clientside.set_props(told.ticks, { data: Array.from(boxes, (box) => box.dataset.key) });
    }
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.feeder = {
    // Colour one map at a step; what binds there in words. A new base, or a host that was drawn anew, makes a new map.
    colour: function (step, values, base, chosen, id) {
      const host = document.getElementById(id);
      if (!host) { return window.dash_clientside.no_update; }
      host.hidden = host.parentElement.hidden = !values || !base;
      if (host.hidden) { return ""; }
      let map = maps.get(id);
      if (!map || map.host !== host || map.base !== base) {
        maps.set(id, map = new FeederMap(host, base));
        offer(base);
      }
      return map.colour(Number(step) || 0, values, chosen);
    },
    // Clock of the slider's step, which a screen reader is told too.
    clock: function (step, values) {
      const slider = document.getElementById("feeder-step");
      if (!values || !slider) { return ""; }
      const at = Math.min(Number(step) || 0, values.steps - 1), told = values.times[at];
      slider.setAttribute("aria-valuetext", told);
      return told + ", step " + (at + 1) + " of " + values.steps;
    },
    // Names of the runs above their maps, the slider's end, and, once both maps are there, what they show.
    name: function (first, second, a, b, day, quantity) {
      const none = window.dash_clientside.no_update, both = first && (b === "-" || second);
      return [a || "", b || "", first ? first.steps - 1 : none, both ? [a, b, day, quantity].join(" ") : none];
    },
    play: function (clicks, values, step) {
      if (!clicks || playing !== null || !values) {
        if (playing !== null) { stop(); }
        return window.dash_clientside.no_update;
      }
      let at = Number(step) >= values.steps - 1 ? 0 : Number(step);
      document.querySelectorAll(".feeder-binding").forEach((one) => one.setAttribute("aria-live", "off"));
      playing = setInterval(function () {
        if (!document.getElementById("feeder-step") || at >= values.steps - 1) { stop(); return; }
        window.dash_clientside.set_props("feeder-step", { value: ++at });
      }, 150);
      return "Pause";
    },
  };
})();
