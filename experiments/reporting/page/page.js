"use strict";
// The results table and the trials' pages. The address names the trial that is shown: #trial=ID.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const scores = Object.keys(data.scores), further = scores.filter(name => !data.metrics.includes(name));
const NUMERIC = new Set([...scores.map(name => name.toUpperCase()), data.interval, data.recall, "over", "seed", "n"]);
const start = { "test set": "global", by: "image" };

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function drawing(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shown(value, column) {
  if (value === null || value === undefined) return "–";
  if (column === data.recall) return value.join("/");
  if (column === data.interval) return value.map(end => end.toFixed(1)).join("–");
  const score = data.scores[column.toLowerCase()];
  return score ? value.toFixed(score.digits) : String(value);
}

// Intervals are sorted by their lower end, recall by the share found.
function sortable(value, column) {
  if (!Array.isArray(value)) return value;
  return column === data.recall ? value[0] / value[1] : value[0];
}

function table(head, rows, look = "cards") {
  return element("div", { class: "scroll" }, element("table", { class: look },
    element("thead", {}, element("tr", {}, ...head.map(name => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map(row => element("tr", {}, ...row.map((cell, i) =>
      element("td", { "data-label": head[i] }, cell)))))));
}

// --- results -------------------------------------------------------------------------------

function results() {
  // The settings are shown together in one cell, and trials that are not complete are marked, so these
  // columns are only used by the filters.
  const filtered = [...data.settings, "complete"], complete = data.columns.indexOf("complete");
  const places = [...data.columns.keys()].filter(i => !filtered.includes(data.columns[i]));
  const look = column => ({ class: NUMERIC.has(column) ? "number" : column });
  const body = document.querySelector("#results-table tbody");
  const rows = data.rows.map(values => {
    const cells = places.map(i => element("td", { ...look(data.columns[i]), "data-label": data.columns[i] }, i === 0
      ? element("a", { href: "#trial=" + values[0], title: values[0] }, values[0].slice(-12))
      : shown(values[i], data.columns[i])));
    if (values[complete] === "no") cells[0].append(element("span", { class: "alarm" }, "not complete"));
    return { values, cells, text: values.join(" ").toLowerCase(), node: element("tr", {}, ...cells) };
  });
  const head = document.querySelector("#results-table thead").appendChild(element("tr"));
  for (const i of places) {
    const button = element("button", { type: "button" }, data.columns[i]);
    const header = element("th", { scope: "col", "aria-sort": "none", ...look(data.columns[i]) }, button);
    head.append(header);
    button.addEventListener("click", () => sort(header, i));
  }

  function sort(header, i) {
    // Figures are sorted from the best; a second click reverses the order.
    const highest = data.scores[data.columns[i].toLowerCase()]?.higher ?? NUMERIC.has(data.columns[i]);
    const first = highest ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = header.getAttribute("aria-sort") === first ? other : first;
    for (const each of head.children) each.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [x, y] = [a.values[i], b.values[i]].map(value => sortable(value, data.columns[i]));
      if (x === y) return 0;
      if (x === null) return 1;  // rows without a figure are always last
      if (y === null) return -1;
      return sign * (typeof x === "number" ? x - y : x < y ? -1 : 1);
    });
    body.append(...rows.map(row => row.node));
  }

  const filters = document.getElementById("filters");
  const text = element("input", { type: "search", id: "filter-text", placeholder: "words, all must occur" });
  filters.append(element("label", {}, "search", text));
  const selects = new Map(), same = new Map();
  const kind = data.columns.indexOf("kind");
  const asked = [...data.settings, "backbone", "seed", "model", "test set", "by", "complete"];
  for (const i of asked.map(column => data.columns.indexOf(column))) {
    const column = data.columns[i];
    const values = [...new Set(data.rows.map(row => row[i]))].filter(value => value !== null);
    // Some kinds of experiment do not have this setting; all others must have the same value.
    const having = new Set(data.rows.filter(row => row[i] !== null).map(row => row[kind]));
    const throughout = data.rows.every(row => having.has(row[kind]) === (row[i] !== null));
    if (values.length < 2 && throughout) {
      same.set(i, `${column} ${values[0]}`);
      continue;
    }
    const select = element("select", { "data-column": column }, element("option", { value: "" }, "all"),
      ...values.sort((a, b) => a < b ? -1 : 1).map(value => element("option", { value }, String(value))));
    if (values.includes(start[column])) select.value = start[column];
    selects.set(i, select);
    filters.append(element("label", {}, column, select));
    select.addEventListener("change", filter);
  }
  // All scores side by side would be too wide.
  const upper = names => names.map(name => name.toUpperCase());
  const views = {
    main: upper(further), further: [data.interval, data.recall, "over", ...upper(data.metrics)],
  };
  const view = element("select", { id: "filter-scores" },
    ...Object.keys(views).map(name => element("option", { value: name }, name)));
  filters.append(element("label", {}, "scores", view));
  view.addEventListener("change", filter);
  if (same.size) {
    document.getElementById("same").textContent = `The same wherever it applies: ${[...same.values()].join(", ")}.`;
  }

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = words.every(word => row.text.includes(word))
        && [...selects].every(([i, select]) => !select.value || String(row.values[i]) === select.value);
      row.node.hidden = !fits;
      count += fits;
    }
    // A column with only one value is hidden, to make room for the figures.
    places.forEach((i, k) => {
      const hidden = same.has(i) || Boolean(selects.get(i)?.value)
        || views[view.value].includes(data.columns[i]);
      for (const cells of [head.children, ...rows.map(row => row.cells)]) cells[k].hidden = hidden;
    });
    document.getElementById("count").textContent = `${count} of ${rows.length} rows`;
  }
  text.addEventListener("input", filter);
  body.append(...rows.map(row => row.node));
  filter();
}

// --- one trial ------------------------------------------------------------------------------

function chart(title, rounds, lines) {
  const [width, height, left, right, top, bottom] = [640, 260, 52, 12, 28, 34];
  const values = Object.values(lines).flat().filter(value => value !== null);
  if (!values.length) return element("p", {}, title + ": nothing was measured.");
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const step = niceStep((high - low) || Math.abs(high) || 1);
  [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step || step];
  if (low === high) high += step;
  const [first, last] = [rounds[0], rounds[rounds.length - 1]];
  const x = round => left + (width - left - right) * (last === first ? .5 : (round - first) / (last - first));
  const y = value => height - bottom - (height - top - bottom) * (value - low) / (high - low);
  const picture = drawing("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": title });
  const write = (text, at) => picture.append(drawing("text", at, text));
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let value = low; value <= high + step / 2; value += step) {
    picture.append(drawing("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "#ddd" }));
    write(value.toFixed(digits), { x: left - 6, y: y(value) + 4, "text-anchor": "end" });
  }
  const marks = Math.max(1, niceStep(last - first));
  for (let round = first; round <= last; round++) {
    if (round === first || (round % marks === 0 && round - first > marks / 2)) {
      write(String(round), { x: x(round), y: height - bottom + 16, "text-anchor": "middle" });
    }
  }
  write(title, { x: left, y: 16, "font-weight": 700 });
  const looks = [["#0072b2", ""], ["#d55e00", "7 4"]];
  Object.entries(lines).forEach(([name, series], k) => {
    const [stroke, dashes] = looks[k];
    // A round without a figure leaves a gap.
    let path = "", pen = false;
    series.forEach((value, i) => {
      if (value !== null) path += `${pen ? "L" : "M"}${x(rounds[i]).toFixed(1)},${y(value).toFixed(1)}`;
      pen = value !== null;
    });
    picture.append(drawing("path", { d: path, fill: "none", stroke, "stroke-width": 2, "stroke-dasharray": dashes }));
    if (rounds.length === 1) picture.append(drawing("circle", { cx: x(first), cy: y(series[0]), r: 4, fill: stroke }));
    if (Object.keys(lines).length > 1) {
      const from = width - right - 290 + 150 * k;
      picture.append(drawing("line", { x1: from, x2: from + 26, y1: 12, y2: 12, stroke, "stroke-width": 2, "stroke-dasharray": dashes }));
      write(name, { x: from + 32, y: 16 });
    }
  });
  return picture;
}

function niceStep(span) {
  const rough = span / 5, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find(times => times * power >= rough * .999);
}

function confusion(counts, classes, model) {
  const rows = counts.map((row, i) => {
    const total = row.reduce((sum, n) => sum + n, 0);
    return element("tr", {}, element("th", { scope: "row" }, classes[i]), ...row.map((n, j) => {
      const share = total ? n / total : 0;
      const style = `background: rgba(${i === j ? "0,114,178" : "213,94,0"},${(.6 * share).toFixed(3)})`;
      return element("td", { style, title: `${n} of ${total} ${classes[i]} predicted as ${classes[j]}` }, String(n));
    }));
  });
  return element("div", { class: "scroll" }, element("table", { class: "confusion" },
    element("caption", {}, `${data.words[model]}: true classes in rows, predicted classes in columns`),
    element("thead", {}, element("tr", {}, element("td"), ...classes.map(name => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows)));
}

function config(title, values) {
  return element("div", { class: "config" }, element("h3", {}, title),
    table(["", ""], Object.entries(values).map(([key, value]) =>
      [key.replaceAll("_", " "), value === null || value === "" ? "–" : String(value)]), "pairs"));
}

function testSet(row, rounds) {
  if (row.client_rounds !== null) {
    const asked = row.client_rounds_asked, those = asked < rounds ? " that asked it" : "";
    return `${row.test_set}, in ${row.client_rounds} of ${asked} rounds${those}`;
  }
  const without = (row.clients_missing ? `, without ${row.clients_missing}` : "")
    + (row.no_histograms ? `; no histograms of ${row.no_histograms}` : "");
  const words = { global_test: "global test set", left_out: "source left out", client_test: "clients' test splits, pooled" };
  const averaged = row.test_set.startsWith("ema_");
  const name = words[averaged ? row.test_set.slice(4) : row.test_set];
  return name + (averaged ? ", moving average" : "") + without;
}

function trialPage(id) {
  const trial = data.trials[id], view = document.getElementById("trial");
  view.replaceChildren(element("p", {}, element("a", { href: "#results" }, "← all results")));
  if (!trial) {
    view.append(element("h2", {}, id), element("p", {}, "This report has no such trial."));
    return;
  }
  // AVG first, as in the table of all results.
  const order = ["avg", ...data.metrics.filter(name => name !== "avg")];
  const metrics = order.flatMap(name => name === "bacc" ? ["BACC", "over"] : [name.toUpperCase()]);
  const named = trial.figures.map(row => [testSet(row, trial.about.rounds), data.words[row.model], row.unit]);
  const figures = trial.figures.map((row, k) => [...named[k], String(row.n),
    ...order.flatMap(name => {
      const [low, high] = [row[name + "_low"], row[name + "_high"]];
      const text = shown(row[name], name.toUpperCase()) + (low === null ? "" : `\n${low.toFixed(1)}–${high.toFixed(1)}`);
      return name === "bacc" ? [text, String(row.bacc_classes)] : [text];
    })]);
  const others = trial.figures.map((row, k) => [...named[k], ...further.map(name => shown(row[name], name))]);
  const byClass = trial.by_class.flatMap(score => [
    element("h3", {}, `${score.toUpperCase()} by class`),
    table(["test set", "model", "by", ...trial.recall.classes], trial.figures.map((row, k) => [...named[k],
      ...trial.recall.classes.map(name => shown(row[`${score}.${name}`], score))])),
  ]);
  const recall = trial.recall.rows.map((row, k) => [...named[k],
    ...row.map(([found, of]) => of ? `${found}/${of}` : "–")]);
  const curve = trial.curve, unit = trial.about.command === "simulate" ? "round" : "epoch";
  view.append(
    element("h2", {}, id),
    ...(trial.synthetic ? [element("p", { class: "alarm" }, "SYNTHETIC images: these figures say nothing about patients")] : []),
    ...(trial.absences ? [element("p", { class: "alarm" }, `Not complete: ${trial.absences}`)] : []),
    element("h3", {}, "Figures, in percent; 95 % intervals below"),
    table(["test set", "model", "by", "n", ...metrics], figures),
    element("p", {}, "over: how many classes occur; BACC is their mean recall."),
    element("h3", {}, "Further scores"),
    table(["test set", "model", "by", ...further.map(name => name.toUpperCase())], others),
    element("h3", {}, "Recall by class: found, of how many"),
    table(["test set", "model", "by", ...trial.recall.classes], recall),
    ...byClass,
    element("div", { class: "columns" },
      chart(`validation AVG in percent, by ${unit}`, curve.round, { AVG: curve.validation_avg }),
      chart(`loss, by ${unit}`, curve.round, { training: curve.train_loss, validation: curve.validation_loss })),
    element("h3", {}, "Confusion on the global test set"),
    element("div", { class: "columns" },
      ...Object.entries(trial.confusions).map(([model, counts]) => confusion(counts, trial.classes, model))),
    element("div", { class: "columns" },
      config("Settings of this trial", trial.config), config("The trial", trial.about), config("Config in common", data.config)));
}

function route() {
  const match = /^#trial=(.+)$/.exec(location.hash);
  const view = document.getElementById("trial");
  document.getElementById("report").hidden = Boolean(match);
  view.hidden = !match;
  if (match) {
    trialPage(decodeURIComponent(match[1]));
    scrollTo(0, 0);
    view.focus({ preventScroll: true });
  } else if (location.hash.length > 1) {
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }
}

if (data.rows.length) results();
addEventListener("hashchange", route);
route();
