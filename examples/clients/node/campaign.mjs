// Adds jobs to a Balsam site, watches them to their end, and counts them by state.
//
//     npm ci
//     BALSAM_DB_PATH=~/first node campaign.mjs [NUMBER]
//
// The services of the site must be up (`balsam up`), and a launcher must work (`balsam launcher --persistent`).
// Works as a program of its own, with the owner's token, and inside of a job, with the token of that run.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const SECONDS = 1000;
const PROTOS = process.env.BALSAM_PROTOS ?? join(dirname(fileURLToPath(import.meta.url)), "../../../protos");
const SERVICES = ["job_service", "event_service"];

const site = process.env.BALSAM_DB_PATH;
if (!site) {
  console.error("BALSAM_DB_PATH is not set: point it at a site");
  process.exit(2);
}

// The messages as the protos have them: names with `_`, enums by name, 64-bit numbers as text.
const loaded = loadSync(
  SERVICES.map((name) => `balsam/v1/${name}.proto`),
  { includeDirs: [PROTOS], keepCase: true, enums: String, longs: String, defaults: true, oneofs: true },
);
const v1 = grpc.loadPackageDefinition(loaded).balsam.v1;

// The Unix socket can be opened by the owner alone, so it needs no TLS; the token says who we are all the same.
const address = process.env.BALSAM_ADDRESS ?? `unix:${join(site, "run", "jobstore.sock")}`;
const token = process.env.BALSAM_JOB_TOKEN ?? readFileSync(join(site, "credentials", "owner.token"), "utf8").trim();
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);
const jobs = new v1.JobService(address, grpc.credentials.createInsecure());
const events = new v1.EventService(address, grpc.credentials.createInsecure());

const within = (seconds) => ({ deadline: Date.now() + seconds * SECONDS });
const countJobs = promisify((request, done) => jobs.CountJobs(request, metadata, within(30), done));

/** Adds all jobs or none. Resolves to the answer; its `sequence` is where watching begins. */
function createJobs(wanted) {
  return new Promise((resolve, reject) => {
    const call = jobs.CreateJobs(metadata, within(60), (error, answer) => (error ? reject(error) : resolve(answer)));
    call.write({ atomic: true, jobs: wanted, request_id: randomUUID() });
    call.end();
  });
}

/** Resolves when all jobs with these ids have ended. The job store pushes what happens after `sequence`. */
function allEnded(ids, sequence) {
  const waiting = new Set(ids);
  const filter = { job_ids: ids, states: ["JOB_FINISHED", "FAILED", "USER_KILLED"] };
  return new Promise((resolve, reject) => {
    const stream = events.WatchEvents({ filter, after_sequence: sequence }, metadata, within(300));
    stream.on("data", (news) => {
      for (const event of news.events) waiting.delete(event.job_id);
      if (waiting.size === 0) {
        stream.cancel();
        resolve();
      }
    });
    stream.on("error", (error) => (waiting.size === 0 ? resolve() : reject(error)));
  });
}

const number = Number(process.argv[2] ?? 10);
const wanted = Array.from({ length: number }, (_, n) => ({
  job_id: randomUUID(),
  name: `node-${n}`,
  workflow: "from-node",
  args: `echo hello from job ${n}`,
  data: JSON.stringify({ n }),
}));

try {
  const answer = await createJobs(wanted);
  if (answer.refusals.length > 0) throw new Error(answer.refusals[0].message);
  console.log(`added ${answer.created} jobs`);
  await allEnded(wanted.map((job) => job.job_id), answer.sequence);
  const test = { field: "workflow", op: "EXACT", values: [{ text: "from-node" }] };
  const counted = await countJobs({ filter: { test }, group_by: ["state"] });
  for (const { values, count } of counted.groups) console.log(`${values[0].text} ${count}`);
} catch (error) {
  // The message of a refusal is written for people; its code and `google.rpc.ErrorInfo` are for programs.
  console.error(error.details ?? error.message);
  process.exitCode = 1;
} finally {
  jobs.close();
  events.close();
}
