// What a job waits for, and what waits for it: links in three columns, and lines between them where there is room.

import { h, replace, svg } from "./dom.js";
import { badge } from "./states.js";

const name = (job) => job.name || "job";

function card(job) {
  return h("a", { class: "node", href: `/jobs/${job.job_id}`, "data-key": `node-${job.job_id}` }, h("span", { class: "name" }, name(job)), badge(job.state));
}

function column(title, jobs, most) {
  const list = h("ul", {}, jobs.slice(0, most).map((job) => h("li", {}, card(job))));
  const more = jobs.length > most ? h("p", { class: "muted" }, `and more than these ${most}`) : null;
  return h("div", { class: "column" }, h("h3", {}, title), jobs.length ? list : h("p", { class: "muted" }, "none"), more);
}

/** Draws the graph around a job into a node, again when its size changes until the signal is aborted. */
export function makeGraph(node, signal) {
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const columns = h("div", { class: "columns" });
  node.append(lines, columns);
  const sizes = new ResizeObserver(() => drawLines(node, lines));
  sizes.observe(node);
  signal.addEventListener("abort", () => sizes.disconnect());
  return ({ job, parents, children, most_relatives: most }) => {
    const own = h("div", { class: "column" }, h("h3", {}, "This job"), h("div", { class: "node here" }, h("span", { class: "name" }, name(job)), badge(job.state)));
    replace(columns, column("Parents", parents, most), own, column("Children", children, most));
    drawLines(node, lines);
  };
}

function drawLines(node, lines) {
  const here = node.querySelector(".here");
  if (!here) return;
  const frame = node.getBoundingClientRect();
  const box = (one) => one.getBoundingClientRect();
  const paths = [...node.querySelectorAll("a.node")].map((one) => {
    const [left, right] = box(one).left < box(here).left ? [one, here] : [here, one];
    const x1 = box(left).right - frame.left;
    const x2 = box(right).left - frame.left;
    const y1 = box(left).top + box(left).height / 2 - frame.top;
    const y2 = box(right).top + box(right).height / 2 - frame.top;
    const middle = (x1 + x2) / 2;
    return x2 > x1 ? svg("path", { d: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }) : null;
  });
  lines.replaceChildren(...paths.filter(Boolean));
}
