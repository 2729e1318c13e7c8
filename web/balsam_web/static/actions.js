// What may be done to jobs, and asking before it is.

import { post } from "./api.js";
import { count, h, say } from "./dom.js";
import { AGAIN, END } from "./states.js";

/** Whether this user may change a job; the job store decides anyway. */
export const mayChange = (site, job) => site.role === "owner" || (site.role === "member" && job.owner === site.user);

/** Whether this user may change jobs at all. */
export const mayAct = (site) => site.role === "owner" || site.role === "member";

/** Buttons for jobs; `chosen` gives them, `done` is called after something was done. */
export function buttons(chosen, done) {
  const button = (name, act, danger = false) =>
    h("button", { type: "button", class: danger ? "danger" : null, "data-key": `do-${name}`, onclick: () => act(chosen(), done) }, name);
  return [button("Kill", kill, true), button("Run again", restart), button("Priority", prioritize)];
}

/** Disables what cannot be done to any of the jobs. */
export function enable(nodes, jobs) {
  const some = (test) => jobs.some((job) => test(job.state));
  const able = [some((state) => !END.includes(state)), some((state) => AGAIN.includes(state)), jobs.length > 0];
  nodes.forEach((node, at) => (node.disabled = !able[at]));
}

async function kill(jobs, done) {
  const below = h("input", { type: "checkbox" });
  const label = h("label", { class: "check" }, below, "and all jobs that depend on them");
  if (!(await ask(`Kill ${what(jobs)}?`, "Kill", label))) return;
  await act("kill", { job_ids: ids(jobs), recursive: below.checked }, done);
}

async function restart(jobs, done) {
  if (!(await ask(`Run ${what(jobs)} again?`, "Run again"))) return;
  await act("restart", { job_ids: ids(jobs) }, done);
}

async function prioritize(jobs, done) {
  const input = h("input", { type: "number", step: "1", required: true, value: String(jobs[0]?.priority ?? 0) });
  const label = h("label", { class: "field" }, "Priority; higher starts first", input);
  if (!(await ask(`Priority of ${what(jobs)}`, "Set", label))) return;
  await act("priority", { job_ids: ids(jobs), priority: Number(input.value) }, done);
}

const ids = (jobs) => jobs.map((job) => job.job_id);

const what = (jobs) => (jobs.length === 1 ? `job ${jobs[0].name || "job"} (${jobs[0].job_id.slice(0, 8)})` : count(jobs.length, "job"));

async function act(name, body, done) {
  try {
    const answer = await post(`/api/actions/${name}`, body);
    const words = [`${count(answer.done, "job")} ${answer.verb}`, answer.remark, ...answer.refusals.slice(0, 3)];
    say(words.filter(Boolean).join("; "));
  } catch (error) {
    say(error.message);
  }
  done();
}

/** Asks; resolves with whether the answer is yes. */
function ask(question, yes, ...more) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-label": question, onclose: () => finish(dialog.returnValue === "yes") },
      h(
        "form",
        { method: "dialog" },
        h("p", { class: "question" }, question),
        more,
        h("div", { class: "row" }, h("button", { value: "yes", class: "main" }, yes), h("button", { value: "no", formnovalidate: true }, "Cancel")),
      ),
    );
    function finish(answer) {
      dialog.remove();
      resolve(answer);
    }
    document.body.append(dialog);
    dialog.showModal();
  });
}
