// Calls to the server that this page came from.

const KEY = "balsam-key";

/** A call that was refused; `status` is that of HTTP, 0 if the server did not answer. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** What this page shows beside its cookie. Unlike that, no other port of this host ever sees it. */
export const key = () => localStorage.getItem(KEY) ?? "";

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, "x-balsam-key": key() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("`balsam web` does not answer: is it still running?", 0);
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(body.error ?? `refused with status ${response.status}`, response.status);
  return body;
}

export const get = (path, signal) => call(path, { signal });

export const post = (path, body) =>
  call(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });

/** Lets this browser in by the token of the link, if the page was opened by one. */
export async function comeIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    localStorage.setItem(KEY, (await post("/api/login", { token })).key);
  } catch (error) {
    if (!key() || error.status !== 401) throw error; // the same link again, in a browser that was let in by it
  }
}
