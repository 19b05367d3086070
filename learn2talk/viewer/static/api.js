// Requests to the server of this page. Addresses are relative, because the path begins with the run's own token.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(`api/${path}`, { cache: "default", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The viewer's server does not answer. Start learn2talk view again.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refused(response.status, told.error ?? `The server answered ${response.status}.`);
}

export const json = async (path, signal) => (await request(path, { signal })).json();

export const binary = async (path, signal) => (await request(path, { signal })).arrayBuffer();

/** POST; plain objects are sent as JSON, everything else (files, typed arrays) unchanged. */
export function post(path, body, signal) {
  const plain = Object.getPrototypeOf(body) === Object.prototype;
  return request(path, { method: "POST", body: plain ? JSON.stringify(body) : body, signal });
}

/** POST a file and return the answer's JSON; `sent(share)` is told how much of it has been sent, 0…1. */
export function send(path, file, signal, sent) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const silent = () => reject(new Refused(0, "The viewer's server does not answer. Start learn2talk view again."));
    call.open("POST", `api/${path}`);
    call.responseType = "json";
    call.upload.onprogress = ({ loaded, total }) => sent(total ? loaded / total : 1);
    call.upload.onload = () => sent(1);
    call.onerror = silent;
    call.onabort = () => reject(new DOMException("Cancelled", "AbortError"));
    call.onload = () => {
      if (call.status >= 200 && call.status < 300 && call.response) resolve(call.response);
      else reject(new Refused(call.status, call.response?.error ?? `The server answered ${call.status}.`));
    };
    signal.addEventListener("abort", () => call.abort());
    call.send(file);
  });
}

const arrays = new Map();

/** An array that a motion refers to by its hash: fetched once, shared by all motions with the same hash. */
export function array(name, Type) {
  if (name === null) return null;
  if (!arrays.has(name)) {
    const fetched = binary(`arrays/${name}`).then((buffer) => new Type(buffer));
    fetched.catch(() => arrays.delete(name));
    arrays.set(name, fetched);
  }
  return arrays.get(name);
}

export const soundAddress = (clip) => `api/clips/${clip}/sound`;
