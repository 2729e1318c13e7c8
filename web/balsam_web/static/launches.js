// Launchers at work, and the batch system's launches.

import { get } from "./api.js";
import { h, number, replace, since } from "./dom.js";
import { onMessage } from "./live.js";
import { launchBadge } from "./states.js";

const LEAST_WAIT = 2000;

export async function show(main, _place, signal) {
  const launchers = h("div");
  const launches = h("div");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  replace(
    main,
    h("h1", {}, "Launches"),
    problem,
    h("section", { class: "card" }, h("h2", {}, "Launchers at work"), launchers),
    h("section", { class: "card" }, h("h2", {}, "Batch launches"), launches),
  );
  let last = 0;
  async function refresh() {
    if (Date.now() - last < LEAST_WAIT) return;
    last = Date.now();
    try {
      const found = await get("/api/launches", signal);
      replace(launchers, found.launchers.length ? working(found.launchers) : nothing("None. Start one here with: balsam launcher"));
      replace(launches, found.launches.length ? submitted(found.launches) : nothing("None. Submit one with: balsam submit-launch"));
      if (found.launches.length >= found.most) launches.append(h("p", { class: "muted" }, `the newest ${found.most}`));
      problem.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }
  refresh();
  onMessage(refresh, signal);
}

const nothing = (text) => h("p", { class: "none" }, text);

function table(name, columns, rows) {
  const head = h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function working(found) {
  const columns = [["Launcher"], ["In use"], ["Nodes", "num"], ["Holds", "num"], ["Mode", "wide"], ["Workflow", "wide"], ["User", "wide"], ["Age", "num"]];
  const rows = found.map((one) =>
    h(
      "tr",
      {},
      h("td", {}, `${one.host}:${one.pid}`, one.launch ? h("span", { class: "muted" }, ` of launch ${one.launch}`) : null),
      h("td", {}, h("meter", { min: "0", max: String(one.nodes), value: String(one.busy), "aria-label": `${one.busy} of ${one.nodes} nodes in use` }), ` ${Math.round((100 * one.busy) / one.nodes)} %`),
      h("td", { class: "num" }, number(one.nodes)),
      h("td", { class: "num" }, number(one.holds)),
      h("td", { class: "wide" }, one.job_mode),
      h("td", { class: "wide" }, one.workflow_filter || "all"),
      h("td", { class: "wide" }, one.user),
      h("td", { class: "num" }, since(one.create_time)),
    ),
  );
  return table("Launchers at work", columns, rows);
}

function submitted(found) {
  const columns = [["Launch", "num"], ["State"], ["Batch id", "wide"], ["Queue", "wide"], ["Nodes", "num"], ["Minutes", "num wide"], ["Takes", "wide"], ["Age", "num"], ["Message", "wide"]];
  const takes = (one) => `${one.prescheduled_only ? "bound, of " : ""}${one.wf_filter || "all"}`;
  const rows = found.map((one) =>
    h(
      "tr",
      {},
      h("td", { class: "num" }, String(one.launch_id)),
      h("td", {}, launchBadge(one.state)),
      h("td", { class: "wide" }, one.scheduler_id),
      h("td", { class: "wide" }, one.queue),
      h("td", { class: "num" }, number(one.nodes)),
      h("td", { class: "num wide" }, number(one.wall_minutes)),
      h("td", { class: "wide" }, takes(one)),
      h("td", { class: "num" }, since(one.create_time)),
      h("td", { class: "wide" }, h("span", { class: "cut message", title: one.message }, one.message.slice(0, 300))),
    ),
  );
  return table("Batch launches", columns, rows);
}
