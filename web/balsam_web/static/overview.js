// The campaign as a whole.

import { get } from "./api.js";
import { Course } from "./charts.js";
import { brief, count, h, number, rate, replace } from "./dom.js";
import { onMessage } from "./live.js";
import { GROUPS, badge, inGroup, listOf } from "./states.js";

export async function show(main, _place, signal) {
  const tiles = h("div", { class: "tiles" });
  const bar = h("div", { class: "bar", "aria-hidden": "true" });
  const states = h("ul", { class: "states" });
  const course = new Course(signal);
  replace(
    main,
    h("h1", { class: "unseen" }, "Overview"),
    tiles,
    h("section", { class: "card" }, h("h2", {}, "States"), bar, states),
    course.states.node,
    h("div", { class: "pair" }, course.ends.node, course.nodes.node),
  );
  let fetching = false;
  onMessage(async (message) => {
    showTiles(tiles, message);
    showBar(bar, message.counts);
    showStates(states, message.counts);
    if (!course.setLast(message.last)) {
      if (fetching) return;
      fetching = true;
      try {
        course.setAll(await get("/api/history", signal));
      } catch {
        return; // the banner says so, and the next message tries again
      } finally {
        fetching = false;
      }
    }
    if (!signal.aborted) course.draw(message);
  }, signal);
}

function total(counts) {
  return Object.values(counts).reduce((sum, one) => sum + one, 0);
}

function showTiles(node, message) {
  const { counts, rates } = message;
  const of = (name) => inGroup(GROUPS.find((group) => group.name === name), counts);
  const tile = (name, value, note, href) =>
    h(href ? "a" : "div", { class: "tile", href, "data-key": name }, h("span", { class: "tile-name" }, name), h("strong", {}, value), h("span", { class: "tile-note" }, note));
  const all = total(counts);
  const over = of("Finished") + of("Failed") + of("Killed");
  const percent = all ? `${Math.floor((100 * over) / all)} % have ended` : "none yet";
  const used = message.nodes > 0 ? `${Math.round((100 * message.busy) / message.nodes)} % in use` : "no launcher at work";
  replace(
    node,
    tile("Jobs", number(all), percent, "/jobs"),
    tile("Running", number(of("Running")), count(message.launchers, "launcher"), listOf(["RUNNING"])),
    tile("Finished", number(of("Finished")), `${rate(rates.finished)} a second`, listOf(["JOB_FINISHED"])),
    tile("Failed", number(of("Failed")), `${number(of("Killed"))} killed`, listOf(["FAILED"])),
    tile("Nodes", brief(message.nodes), used, "/launches"),
  );
}

function showBar(node, counts) {
  const all = total(counts);
  replace(
    node,
    GROUPS.filter((group) => inGroup(group, counts) > 0).map((group) => {
      const part = h("span", { class: `part b-${group.color}` });
      part.style.flexGrow = String(inGroup(group, counts) / all);
      return part;
    }),
  );
}

function showStates(node, counts) {
  const order = GROUPS.flatMap((group) => group.states);
  const there = order.filter((state) => counts[state] > 0);
  const item = (state) => h("li", {}, h("a", { href: listOf([state]), "data-key": state }, badge(state), h("b", {}, number(counts[state]))));
  replace(node, there.length ? there.map(item) : h("li", { class: "none" }, "No jobs yet. Add one with: balsam job --name hello -- echo hello"));
}
