// Finds what the address asks for, and shows it.

import { comeIn, get } from "./api.js";
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
  if (first === "jobs" && second) return { page: job, title: "Job", id: decodeURIComponent(second) };
  if (first === "jobs") return { page: jobs, title: "Jobs" };
  if (first === "launches") return { page: launches, title: "Launches" };
  return { page: overview, title: "Overview" };
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

function go(address) {
  history.pushState(null, "", address);
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
  replace(
    main,
    h("section", { class: "lone card" }, h("h1", {}, out ? "Not let in" : "This did not work"), h("p", {}, error.message), out && h("p", { class: "muted" }, "The link works once, and only while that `balsam web` runs.")),
  );
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
