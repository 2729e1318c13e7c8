// The table of jobs. What it shows stands in the URL: filter, order, and where the page begins.

import { buttons, enable, mayAct, mayChange } from "./actions.js";
import { get } from "./api.js";
import { count, h, moment, replace, since } from "./dom.js";
import { onMessage } from "./live.js";
import { END, badge } from "./states.js";

const LEAST_WAIT = 1000; // milliseconds between two looks; five times as long as the last one took, at least
const TEXTS = [
  ["name", "Name", "exact, or with * and ?"],
  ["wf", "Workflow", "exact, or with * and ?"],
  ["app", "Application", "exact, or with * and ?"],
  ["id", "Id", "its first digits"],
];

export async function show(main, place, signal) {
  const { site, query, go } = place;
  const chosen = new Map();
  const body = h("tbody");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const pager = h("nav", { class: "pager", "aria-label": "Pages of jobs" });
  const shown = h("p", { class: "muted", "aria-live": "polite" });
  const acts = mayAct(site);
  const actions = acts ? buttons(() => [...chosen.values()], refresh) : [];
  const bar = acts ? h("div", { class: "row acts", role: "group", "aria-label": "Change the chosen jobs" }, actions) : null;
  let jobs = [];

  replace(
    main,
    h("h1", {}, "Jobs"),
    form(site, query, go),
    problem,
    h("div", { class: "row spread" }, shown, bar),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, h("table", { class: "jobs" }, head(), body)),
    pager,
  );

  function head() {
    const names = [["Job"], ["State"], ["Workflow", "wide"], ["Application", "wide"], ["Nodes", "wide num"], ["Priority", "wide num"], ["Age", "num"], ["Message", "wide"]];
    const box = h("input", { type: "checkbox", "aria-label": "Choose all jobs shown", onchange: () => chooseAll(box.checked) });
    return h("thead", {}, h("tr", {}, acts && h("th", { class: "pick" }, box), names.map(([name, kind]) => h("th", { scope: "col", class: kind }, name))));
  }

  function chooseAll(yes) {
    chosen.clear();
    if (yes) for (const job of jobs) if (mayChange(site, job)) chosen.set(job.job_id, job);
    draw();
  }

  function row(job) {
    const name = job.name || "job";
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Choose ${name}`,
      "data-key": `pick-${job.job_id}`,
      disabled: !mayChange(site, job),
      onchange: () => {
        if (box.checked) chosen.set(job.job_id, job);
        else chosen.delete(job.job_id);
        enable(actions, [...chosen.values()]);
      },
    });
    box.checked = chosen.has(job.job_id);
    return h(
      "tr",
      { "data-job": job.job_id },
      acts && h("td", { class: "pick" }, box),
      h("td", {}, h("a", { href: `/jobs/${job.job_id}`, "data-key": job.job_id }, h("span", { class: "name" }, name), " ", h("code", {}, job.job_id.slice(0, 8)))),
      h("td", {}, badge(job.state)),
      h("td", { class: "wide" }, h("span", { class: "cut", title: job.workflow }, job.workflow)),
      h("td", { class: "wide" }, h("span", { class: "cut", title: job.application }, job.application)),
      h("td", { class: "wide num" }, String(job.num_nodes)),
      h("td", { class: "wide num" }, String(job.priority)),
      h("td", { class: "num" }, since(job.create_time)),
      h("td", { class: "wide" }, h("span", { class: "cut message", title: job.message }, job.message)),
    );
  }

  function draw() {
    const here = new Map(jobs.map((job) => [job.job_id, job]));
    for (const id of [...chosen.keys()]) here.has(id) ? chosen.set(id, here.get(id)) : chosen.delete(id);
    const none = h("tr", {}, h("td", { colspan: "9", class: "none" }, "No job matches."));
    replace(body, jobs.length ? jobs.map(row) : none);
    enable(actions, [...chosen.values()]);
  }

  function drawPager(after) {
    const link = (text, change) => h("a", { href: address({ ...Object.fromEntries(query), ...change }), "data-key": text }, text);
    replace(pager, query.get("after") && link("First page", { after: "" }), after && link("Next page", { after }));
    const more = after || query.get("after");
    shown.textContent = jobs.length ? `${count(jobs.length, "job")}${more ? ", and more" : ""}, at ${moment(Date.now()).slice(11)}` : "";
  }

  let busy = false;
  let stale = false;
  async function refresh() {
    if (busy) {
      stale = true;
      return;
    }
    busy = true;
    stale = false;
    const start = performance.now();
    try {
      const answer = await get(`/api/jobs?${query}`, signal);
      jobs = answer.jobs;
      draw();
      drawPager(answer.after);
      problem.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      problem.textContent = error.message;
      problem.hidden = false;
    }
    const wait = Math.max(LEAST_WAIT, 5 * (performance.now() - start));
    setTimeout(() => {
      busy = false;
      if (stale && !signal.aborted) refresh();
    }, wait);
  }

  refresh();
  onMessage((message) => message.moved && refresh(), signal);
}

function address(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  return query.size ? `/jobs?${query}` : "/jobs";
}

function form(site, query, go) {
  const now = (name) => query.get(name) ?? "";
  const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
  const open = site.states.filter((state) => !END.includes(state)).join(",");
  const groups = [["", "any"], [open, "not ended"], ["FAILED,USER_KILLED", "failed or killed"]];
  const known = [...groups.map(([value]) => value), ...site.states];
  const states = h(
    "select",
    { name: "state", id: "f-state" },
    groups.map(([value, text]) => option(value, text, now("state"))),
    site.states.map((state) => option(state, state, now("state"))),
    known.includes(now("state")) ? null : option(now("state"), now("state"), now("state")),
  );
  const order = h("select", { name: "order", id: "f-order" }, option("", "newest first", now("order")), option("oldest", "oldest first", now("order")));
  const field = (label, input) => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  const node = h(
    "form",
    { class: "filter card", role: "search", "aria-label": "Filter jobs", onsubmit: submit },
    field("State", states),
    TEXTS.map(([name, label, hint]) => field(label, h("input", { name, id: `f-${name}`, value: now(name), placeholder: hint, autocomplete: "off", spellcheck: "false" }))),
    field("Order", order),
    h("div", { class: "row" }, h("button", { class: "main" }, "Filter"), h("a", { class: "button", href: "/jobs" }, "Clear")),
  );
  states.addEventListener("change", submit);
  order.addEventListener("change", submit);
  function submit(event) {
    event.preventDefault();
    go(address(Object.fromEntries(new FormData(node))));
  }
  return node;
}
