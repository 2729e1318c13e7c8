// One job: what it is, where it stands, what came before, what it wrote, and its relatives.

import { buttons, enable, mayChange } from "./actions.js";
import { Refused, get } from "./api.js";
import { bytes, h, moment, replace } from "./dom.js";
import { makeGraph } from "./graph.js";
import { lookAt, onMessage } from "./live.js";
import { badge } from "./states.js";

const RELATIVES_MS = 5000;
const OUTPUT_MS = 1000;
const HIDDEN = ["job_id", "name", "state", "message", "revision", "leased", "create_time"];
const FIRST = ["workflow", "application", "working_directory", "exit_code", "attempt", "owner"];
const WHOLE_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const START_OF_ID = /^[0-9a-f][0-9a-f-]{0,35}$/;

export async function show(main, { site, id, go }, signal) {
  if (!WHOLE_ID.test(id)) {
    go(await meant(id, signal), true);
    return;
  }
  const title = h("h1", {}, "Job");
  const state = h("div", { class: "row" });
  const message = h("p", { class: "said" });
  const facts = h("dl", { class: "facts" });
  const history = h("tbody");
  const graph = h("div", { class: "graph" });
  const drawGraph = makeGraph(graph, signal);
  const acts = h("div", { class: "row acts", role: "group", "aria-label": "Change this job" });
  const output = makeOutput(id, signal);
  replace(
    main,
    h("p", {}, h("a", { href: "/jobs" }, "Jobs")),
    h("div", { class: "row spread" }, title, acts),
    state,
    message,
    h("section", { class: "card" }, h("h2", {}, "Output"), output.node),
    h("section", { class: "card" }, h("h2", {}, "Parents and children"), graph),
    h("div", { class: "pair" }, h("section", { class: "card" }, h("h2", {}, "History"), table(history)), h("section", { class: "card" }, h("h2", {}, "Fields"), facts)),
  );
  let job = null;
  let first = true;
  const actions = buttons(() => [job], refresh);

  async function refresh() {
    let found;
    try {
      found = await get(`/api/jobs/${encodeURIComponent(id)}`, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (first && error.status === 404) throw error;
      replace(message, error.message);
      return;
    } finally {
      first = false;
    }
    job = found.job;
    document.title = `${job.name || "job"} – Balsam`;
    replace(title, job.name || "job", " ", h("code", {}, job.job_id.slice(0, 8)));
    replace(state, badge(job.state), h("span", { class: "muted" }, `added ${moment(job.create_time)}`));
    replace(message, job.message);
    replace(history, found.history.map(passage), found.more_history && h("tr", {}, h("td", { colspan: "4" }, "… and more")));
    replace(facts, factsOf(job, found.command, found.usual));
    replace(acts, mayChange(site, job) ? actions : null);
    enable(actions, [job]);
    drawGraph(found);
    output.follow(job);
  }

  let last = 0;
  let busy = false;
  let again = false;
  async function soon() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    last = Date.now();
    await refresh();
    setTimeout(() => {
      busy = false;
      if (again && !signal.aborted) soon();
    }, 500);
  }

  lookAt(id);
  signal.addEventListener("abort", () => lookAt(""));
  await soon();
  if (signal.aborted) return;
  onMessage((told) => {
    if (told.job_changed || (told.moved && Date.now() - last > RELATIVES_MS)) soon();
  }, signal);
}

/** The address of the job whose id begins so; of several, that of the table of them. */
async function meant(id, signal) {
  const start = id.toLowerCase();
  const found = START_OF_ID.test(start) ? (await get(`/api/jobs?${new URLSearchParams({ id: start, rows: 2 })}`, signal)).jobs : [];
  if (!found.length) throw new Refused(`no job has an id that begins with ${id}`, 404);
  return found.length === 1 ? `/jobs/${found[0].job_id}` : `/jobs?id=${start}`;
}

function table(body) {
  const names = ["Time", "State", "By", "Message"];
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "History" }, h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))), body));
}

function passage(one) {
  const place = one.node ? `${one.actor} on ${one.node}` : one.actor;
  const who = one.user ? `${place} (${one.user})` : place;
  const code = one.exit_code ? ` (exit code ${one.exit_code})` : "";
  return h("tr", {}, h("td", { class: "when" }, moment(one.time)), h("td", {}, one.state ? badge(one.state) : "note"), h("td", {}, who), h("td", { class: "text" }, one.message + code));
}

/** What says what the job is, and whatever else is not as usual. */
function factsOf(job, command, usual) {
  const hidden = job.application ? HIDDEN : [...HIDDEN, "args"]; // which are the whole command then
  const names = [...FIRST, ...Object.keys(job).filter((name) => !FIRST.includes(name) && !hidden.includes(name))];
  const text = (value) => (typeof value === "object" ? JSON.stringify(value, null, 1).slice(0, 20000) : String(value));
  const pairs = [["id", job.job_id], ["command", command], ...names.filter((name) => !usual.includes(name)).map((name) => [name.replaceAll("_", " "), text(job[name])])];
  return pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

/** The end of the output, read again while the job runs. */
function makeOutput(id, signal) {
  const text = h("pre", { tabindex: "0", "aria-label": "The end of the output" });
  const note = h("p", { class: "muted" });
  let size = -1;
  let timer = 0;
  let state = "";
  async function look() {
    clearTimeout(timer);
    let found;
    try {
      found = await get(`/api/jobs/${encodeURIComponent(id)}/output`, signal);
    } catch (error) {
      if (signal.aborted) return;
      found = { note: error.message, size: 0, start: 0, text: "", path: "" };
    }
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    if (found.size !== size) {
      size = found.size;
      text.textContent = found.text;
      if (atEnd) text.scrollTop = text.scrollHeight;
    }
    text.hidden = !found.text;
    const part = found.start > 0 ? `the last ${bytes(found.size - found.start)} of ${bytes(found.size)}` : bytes(found.size);
    note.textContent = found.note || (found.size ? `${part} in ${found.path}` : `nothing was written to ${found.path}`);
    if (state === "RUNNING" && !signal.aborted) timer = setTimeout(look, document.hidden ? 10 * OUTPUT_MS : OUTPUT_MS);
  }
  return {
    node: h("div", {}, text, note),
    follow(job) {
      state = job.state;
      look();
    },
  };
}
