"use strict";
const by = (id) => document.getElementById(id);
let waiting = false;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const percent = (share) => (100 * share).toFixed(1);

function barCell(share, className) {
  const cell = element("td", "", className), bar = element("div", "", "bar"), filled = element("div", "");
  filled.style.width = `${100 * share}%`;
  bar.append(element("span", percent(share)), filled);
  cell.append(bar);
  return cell;
}

function setLine(answer) {
  if (!answer.set) return "";
  const { marginal, by_class: always } = answer.always_inside;
  const why = "the validation images say too little to leave";
  if (marginal.length) return `Prediction set: every class, as for every image: ${why} one out.`;
  const said = (names) => names.length ? names.join(", ") : "empty: no class fits well";
  const line = `Prediction set: ${said(answer.set)}.`;
  if (said(answer.set) === said(answer.set_by_class)) return line;
  if (!always.length) return `${line} Set by class: ${said(answer.set_by_class)}.`;
  const others = answer.set_by_class.filter((name) => !always.includes(name));
  const are = always.length > 1 ? "are" : "is", them = always.length > 1 ? "them" : "it";
  return `${line} Set by class: ${others.length ? `${said(others)}, and ` : ""}${said(always)}, which ${are} in this set of every image: ${why} ${them} out.`;
}

function fill(answer) {
  const [first] = answer.classes;
  const share = first.calibrated === null ? first.probability : first.calibrated;
  const called = first.words === first.name ? first.name : `${first.name}, ${first.words}`;
  by("predicted").textContent = `Predicted: ${called} (${percent(share)} %)`;
  by("set").textContent = setLine(answer);
  by("photo").src = answer.photo;
  by("map").hidden = !answer.heat_map;
  by("no-heat-map").textContent = answer.no_heat_map || "";
  if (answer.heat_map) by("heat-map").src = answer.heat_map;
  by("explained").textContent = answer.predicted;
  by("bars").tBodies[0].replaceChildren(...answer.classes.map((one) => {
    const row = element("tr", ""), name = element("th", one.name);
    name.scope = "row";
    if (answer.set && !answer.always_inside.marginal.length && answer.set.includes(one.name)) {
      name.className = "inside";
      name.append(element("span", " in the set", "note"));
    }
    if (one.words !== one.name) name.append(element("span", one.words, "note words"));
    row.append(name);
    if (one.calibrated !== null) row.append(barCell(one.calibrated));
    row.append(barCell(one.probability, one.calibrated === null ? "" : "raw"));
    return row;
  }));
  if (by("figures")) by("figures").tBodies[0].replaceChildren(...answer.figures.map((one) => {
    const row = element("tr", ""), figure = (value) => element("td", value === null ? "–" : value.toFixed(1));
    row.append(element("td", one.name), figure(one.recall), figure(one.precision), element("td", one.images));
    return row;
  }));
  by("answer").hidden = false;
  by("predicted").focus();
}

async function ask(file) {
  if (waiting || !file) return;
  waiting = true;
  by("answer").hidden = true;
  by("status").className = "";
  by("status").textContent = `Classifying ${file.name} …`;
  try {
    const largest = document.querySelector("main").dataset.largest;
    if (file.size > largest) throw new Error(`larger than ${largest >> 20} MiB`);
    const reply = await fetch("answer", { method: "POST", body: file });
    if (!reply.ok) throw new Error(await reply.text());
    fill(await reply.json());
    by("status").textContent = file.name;
  } catch (error) {
    by("status").className = "alarm";
    const gone = error instanceof TypeError ? "fedskin does not answer; is it still running?" : error.message;
    by("status").textContent = `${file.name}: ${gone}`;
  }
  waiting = false;
  by("file").value = "";
}

by("file").addEventListener("change", (event) => ask(event.target.files[0]));
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => {
  event.preventDefault();
  by("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) by("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  by("drop").classList.remove("over");
  ask(event.dataTransfer.files[0]);
});
