// The stream of what happens, shared by all parts of the page. While nobody sees the page it is closed.

import { key } from "./api.js";

const hearers = new Set();
let source = null;
let job = "";
let retry = 0;

/** The last message, or null. */
export let latest = null;

/** Calls back with each message, and at once with the last, until the signal is aborted. */
export function onMessage(hear, signal) {
  hearers.add(hear);
  signal.addEventListener("abort", () => hearers.delete(hear));
  if (latest) hear(latest);
}

/** Says which job is looked at (empty: none), so that its changes are told. */
export function lookAt(id) {
  if (job === id) return;
  job = id;
  if (source) open();
}

export function start() {
  document.addEventListener("visibilitychange", () => (document.hidden ? close("paused") : open()));
  open();
}

function open() {
  close("connecting");
  const query = new URLSearchParams({ key: key(), job });
  source = new EventSource(`/api/events?${query}`);
  let first = true;
  source.onmessage = (event) => {
    retry = 0;
    latest = JSON.parse(event.data);
    if (first) latest.moved = latest.job_changed = true; // what happened while nobody listened
    first = false;
    show(latest.problem ? "away" : "on", latest.problem ? "job store away" : "live");
    banner(latest.problem);
    for (const hear of hearers) hear(latest);
  };
  source.onerror = () => {
    close("off");
    show("off", "not connected");
    banner("`balsam web` does not answer. What is shown may be old.");
    retry = Math.min(retry + 1, 5);
    setTimeout(() => source === null && !document.hidden && open(), 1000 * retry);
  };
}

function close(text) {
  if (source) source.close();
  source = null;
  show("off", text);
}

function show(state, text) {
  document.getElementById("live").dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

function banner(problem) {
  const node = document.getElementById("banner");
  node.hidden = !problem;
  node.textContent = problem;
}
