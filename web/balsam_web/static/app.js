// Finds what the address asks for, and shows it.

import { Refused, comeIn, get } from "./api.js";
import { h, replace } from "./dom.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as launches from "./launches.js";
import { start } from "./live.js";
import * as overview from "./overview.js";

const main = document.getElementById("main");
let site = null;
let current = new AbortController();
let shown = "";

function find(path) {
  const [, first, second] = path.split("/");
  if (first === "jobs" && second) return { page: job, title: "Job", id: decoded(second) };
  if (first === "jobs") return { page: jobs, title: "Jobs" };
  if (first === "launches") return { page: launches, title: "Launches" };
  if (first === "") return { page: overview, title: "Overview" };
  return { page: { show: notFound }, title: "Not found" };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function notFound() {
  throw new Refused(`there is no page ${decoded(location.pathname)}`, 404);
}

async function render() {
  current.abort();
  current = new AbortController();
  const place = find(location.pathname);
  shown = location.pathname + location.search;
  document.title = `${place.title} – Balsam`;
  for (const link of document.querySelectorAll("nav a")) {
    const path = new URL(link.href).pathname;
    const here = path === "/" ? place.page === overview : location.pathname.startsWith(path);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    await place.page.show(main, { ...place, site, go, query: new URLSearchParams(location.search) }, current.signal);
  } catch (error) {
    if (error.name !== "AbortError") lone(error);
  }
}

/** Shows another address; `instead`: in the place of this one, to which nobody shall come back. */
function go(address, instead = false) {
  if (instead) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  render();
  scrollTo(0, 0);
}

function onClick(event) {
  const link = event.target.closest("a");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.origin !== location.origin || (link.getAttribute("href") ?? "#").startsWith("#")) return;
  event.preventDefault();
  go(link.pathname + link.search);
  main.focus({ preventScroll: true });
}

function lone(error) {
  const out = error.status === 401;
  const title = { 401: "Not let in", 404: "Not found" }[error.status] ?? "This did not work";
  const back = out
    ? h("p", { class: "muted" }, "The link works once, and only while that `balsam web` runs.")
    : h("p", {}, h("a", { href: "/jobs" }, "All jobs"), " · ", h("a", { href: "/" }, "Overview"));
  replace(main, h("section", { class: "lone card" }, h("h1", {}, title), h("p", {}, error.message), back));
}

async function begin() {
  try {
    await comeIn();
    site = await get("/api/site");
  } catch (error) {
    lone(error);
    document.getElementById("live-text").textContent = "not connected";
    return;
  }
  document.getElementById("where").append(h("span", { class: "path", title: site.path }, h("bdi", {}, site.path)), h("span", { class: "who" }, `${site.user} (${site.role})`));
  document.addEventListener("click", onClick);
  addEventListener("popstate", () => location.pathname + location.search !== shown && render());
  start();
  await render();
}

begin();
