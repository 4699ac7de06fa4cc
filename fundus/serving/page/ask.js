// Questions to the server. A token is kept in this page only, and never in its address.

let token = "";
const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.has("token")) {
  token = fragment.get("token");
  history.replaceState(null, "", location.pathname);
}

export const setToken = (text) => { token = text; };

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

export class Refused extends Error {
  constructor(problem) {
    super(problem.title);
    this.problem = problem;
  }
}

async function answered(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused({
      status: 0, title: "The server cannot be reached",
      detail: "The connection ended before there was an answer.",
      advice: "See whether fundus serve still runs, and try again.",
    });
  }
  if (response.ok) return response.json();
  let problem = { status: response.status, title: "The server could not answer", detail: "", advice: "" };
  try { problem = { ...problem, ...await response.json() }; } catch { /* no problem as JSON */ }
  problem.after = Number(response.headers.get("Retry-After") ?? 0);
  throw new Refused(problem);
}

// a busy server is asked again, after the time that it names
async function patiently(path, options) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await answered(path, options());
    } catch (error) {
      if (error.problem?.status !== 503 || tries === 5) throw error;
      await wait(Math.min(20, error.problem.after || 2));
      options().signal?.throwIfAborted();
    }
  }
}

function form(file, signal) {
  const body = new FormData();
  body.append("file", file, file.name);
  return { method: "POST", body, signal };
}

export const model = () => answered("v1/model");
export const grade = (file, signal) => patiently("v1/grade", () => form(file, signal));
export const explain = (file) => patiently("v1/explain", () => form(file));
