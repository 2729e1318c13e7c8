// Things over time, drawn by uPlot (vendor/).

import { brief, h, moment, parts, rate } from "./dom.js";
import { GROUPS, inGroup } from "./states.js";

const HEIGHT = 190;

// From which distance [s] of the ticks on a time is written how; and what stands below where the year, the day or the
// minute is another one than at the tick before (uPlot: axes[].values).
const TIMES = [
  [86400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [1, ":{ss}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
];

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");

/** One picture. `lines` are {name, color, fill}; `stacked`: each lies on the one before. */
class Chart {
  constructor(title, lines, { stacked = false, format = brief } = {}, signal) {
    this.lines = lines;
    this.stacked = stacked;
    this.format = format;
    this.text = h("span", { class: "figure-text" });
    this.box = h("div", { class: "plot" });
    this.node = h("figure", { class: "card" }, h("figcaption", {}, h("h2", {}, title), this.text), this.box);
    this.rows = null;
    this.plot = null;
    const sizes = new ResizeObserver(() => this.#fit());
    sizes.observe(this.box);
    const redraw = () => this.#make();
    dark.addEventListener("change", redraw);
    signal.addEventListener("abort", () => {
      sizes.disconnect();
      dark.removeEventListener("change", redraw);
      this.plot?.destroy();
      this.plot = null;
    });
  }

  /** Draws: times [s since 1970], and a list of values for each line. `text`: how it stands now, in words. */
  set(times, values, text) {
    this.rows = values;
    this.data = [times, ...(this.stacked ? stack(values).reverse() : values)];
    this.text.textContent = text;
    if (this.plot) this.plot.setData(this.data);
    else this.#make();
  }

  #fit() {
    const width = Math.floor(this.box.clientWidth);
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    else if (!this.plot) this.#make();
  }

  #make() {
    const width = Math.floor(this.box.clientWidth);
    if (!this.rows || width <= 0) return;
    this.plot?.destroy();
    const drawn = this.lines.map((line, index) => this.#series(line, index));
    const axis = { stroke: ink("muted"), grid: { stroke: ink("line"), width: 1 }, ticks: { stroke: ink("line"), width: 1 } };
    this.plot = new window.uPlot(
      {
        width,
        height: HEIGHT,
        cursor: { drag: { x: false, y: false, setScale: false }, sync: { key: "balsam" }, points: { show: false } },
        scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.05 : 1] } },
        axes: [
          { ...axis, space: 70, values: TIMES },
          { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => this.format(tick)) },
        ],
        series: [
          { value: (_, time) => (time === null ? "now" : moment(time * 1000).slice(5)) },
          ...(this.stacked ? drawn.reverse() : drawn),
        ],
      },
      this.data,
      this.box,
    );
  }

  #series(line, index) {
    const stroke = ink(`c-${line.color}`);
    return {
      label: line.name,
      stroke,
      width: this.stacked ? 1 : 1.75,
      fill: this.stacked || line.fill ? (this.stacked ? stroke : `${stroke}33`) : undefined,
      points: { show: false },
      // The value of the line itself, not the height up to which it is stacked; without a cursor the last one.
      value: (_, __, ___, at) => {
        const row = this.rows[index];
        const value = at === null || at === undefined ? row.findLast((one) => one !== null) : row[at];
        return value === null || value === undefined ? "–" : this.format(value);
      },
    };
  }
}

/** Each row on top of those before it. The highest is drawn first, so that all others are seen before it. */
function stack(rows) {
  const sums = [];
  for (const row of rows) {
    const below = sums.at(-1);
    sums.push(row.map((value, at) => value + (below ? below[at] : 0)));
  }
  return sums;
}

/** The three pictures of a campaign. */
export class Course {
  constructor(signal) {
    this.states = new Chart("Jobs by state", GROUPS, { stacked: true }, signal);
    this.ends = new Chart(
      "Throughput, jobs a second",
      [
        { name: "Finished", color: "finished", fill: true },
        { name: "Failed or killed", color: "failed", fill: true },
      ],
      { format: rate },
      signal,
    );
    this.nodes = new Chart(
      "Nodes",
      [
        { name: "There", color: "waiting" },
        { name: "In use", color: "running", fill: true },
      ],
      { format: parts },
      signal,
    );
    this.columns = null;
  }

  /** Takes all points. */
  setAll(columns) {
    this.columns = columns;
  }

  /** Takes the last point; false: there are others between, and all are needed anew. */
  setLast(point) {
    const columns = this.columns;
    if (!columns || !point || columns.width !== point.width) return false;
    const end = columns.time.length;
    const at = end > 0 && columns.time[end - 1] === point.time ? end - 1 : end;
    if (point.length !== at + 1) return false;
    columns.time[at] = point.time;
    for (const name of ["finished", "failed", "nodes", "busy"]) columns[name][at] = point[name];
    for (const state of new Set([...Object.keys(columns.counts), ...Object.keys(point.counts)])) {
      columns.counts[state] ??= new Array(at).fill(0);
      columns.counts[state][at] = point.counts[state] ?? 0;
    }
    return true;
  }

  draw(message) {
    const { time, counts, finished, failed, nodes, busy } = this.columns;
    const rows = GROUPS.map((group) => time.map((_, at) => group.states.reduce((sum, state) => sum + (counts[state]?.[at] ?? 0), 0)));
    const words = GROUPS.filter((group) => inGroup(group, message.counts) > 0).map(
      (group) => `${brief(inGroup(group, message.counts))} ${group.name.toLowerCase()}`,
    );
    this.states.set(time, rows, words.join(", "));
    this.ends.set(time, [finished, failed], `${rate(message.rates.finished)} finished, ${rate(message.rates.failed)} failed or killed`);
    const used = message.nodes > 0 ? `, ${Math.round((100 * message.busy) / message.nodes)} %` : "";
    this.nodes.set(time, [nodes, busy], `${brief(message.busy)} of ${brief(message.nodes)} in use${used}`);
  }
}
