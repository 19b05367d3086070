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

/** A pane for a face: a figure with its name. */
export function figure(name, colour) {
  const element = document.createElement("figure");
  element.className = "pane";
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `Talking face: ${name}`);
  const caption = document.createElement("figcaption");
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.style.background = colour ? `var(${colour})` : "none";
  caption.append(mark, name);
  element.append(caption);
  return element;
}
