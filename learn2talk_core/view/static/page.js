// What all pages have: something is said to everyone, screen readers included.

const status = document.querySelector("#status");
const problem = document.querySelector("#problem");

/** Said politely. */
export function say(text) {
  status.textContent = text;
}

/** Said at once, and it stays until `clear`. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  problem.querySelector("span").textContent = error?.message ?? String(error);
  problem.hidden = false;
}

export function clear() {
  problem.hidden = true;
}

problem.querySelector("button").addEventListener("click", clear);
window.addEventListener("error", ({ error, message }) => complain(error ?? message));
window.addEventListener("unhandledrejection", ({ reason }) => complain(reason));

/** A pane for a face: a figure with its name. */
export function figure(name, colour) {
  const element = document.createElement("figure");
  element.className = "pane";
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", `Talking face: ${name}`);
  const caption = document.createElement("figcaption");
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.style.background = colour ? `var(${colour})` : "none";
  const errors = document.createElement("span");
  errors.className = "errors";
  caption.append(mark, name, errors);
  element.append(caption);
  return element;
}
