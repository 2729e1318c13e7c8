// States by colour and word.

import { h } from "./dom.js";

/** What a campaign's course is drawn in: name, colour, states. From the bottom of the picture to its top. */
export const GROUPS = [
  { name: "Finished", color: "finished", states: ["JOB_FINISHED"] },
  { name: "After the run", color: "after", states: ["RUN_DONE", "POSTPROCESSED", "RUN_ERROR", "RUN_TIMEOUT"] },
  { name: "Running", color: "running", states: ["RUNNING"] },
  { name: "Ready to run", color: "ready", states: ["PREPROCESSED", "RESTART_READY"] },
  { name: "Waiting", color: "waiting", states: ["CREATED", "AWAITING_PARENTS", "READY", "STAGED_IN"] },
  { name: "Failed", color: "failed", states: ["FAILED"] },
  { name: "Killed", color: "killed", states: ["USER_KILLED"] },
];

const OTHER_COLORS = { RUN_ERROR: "trouble", RUN_TIMEOUT: "trouble" };
const LAUNCH_COLORS = {
  PENDING_SUBMISSION: "waiting",
  QUEUED: "ready",
  RUNNING: "running",
  UNKNOWN: "trouble",
  ENDED: "finished",
  SUBMIT_FAILED: "failed",
  CANCELLED: "killed",
};

export const END = ["JOB_FINISHED", "FAILED", "USER_KILLED"];

/** States from which a job may be set to run again. */
export const AGAIN = ["JOB_FINISHED", "FAILED", "RUN_ERROR", "RUN_TIMEOUT"];

export const colorOf = (state) =>
  OTHER_COLORS[state] ?? GROUPS.find((group) => group.states.includes(state))?.color ?? "waiting";

/** A state: a dot in its colour, and its word. */
export const badge = (state) => h("span", { class: `state c-${colorOf(state)}` }, state);

export const launchBadge = (state) => h("span", { class: `state c-${LAUNCH_COLORS[state] ?? "waiting"}` }, state);

/** How many jobs of a group there are. */
export const inGroup = (group, counts) => group.states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);

/** Where the jobs in these states are listed. */
export const listOf = (states) => `/jobs?state=${states.join(",")}`;
