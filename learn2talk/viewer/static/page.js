// Shared by all pages: header, list of keys, and messages that screen readers announce too.

const PAGES = [["index.html", "Viewer"], ["live.html", "Live"], ["blind.html", "Blind comparison"]];
const here = location.pathname.split("/").pop() || "index.html";
const links = PAGES.map(([page, name]) => `<a href="${page}" ${page === here ? 'aria-current="page"' : ""}>${name}</a>`);
document.body.insertAdjacentHTML("afterbegin", `
  <header>
    <h1>Learn2Talk</h1>
    <nav aria-label="Pages">${links.join(" ")}</nav>
    <button id="help-button" type="button" aria-haspopup="dialog">Keys <kbd>?</kbd></button>
  </header>`);
document.body.insertAdjacentHTML("beforeend", `
  <dialog id="help" aria-labelledby="help-title">
    <h2 id="help-title">Keys</h2>
    <dl></dl>
    <p>While the faces have the focus, arrow keys turn them, plus and minus zoom. With a mouse: drag to turn, scroll to
      zoom.</p>
    <label><input type="checkbox"> Single keys work everywhere on the page</label>
    <form method="dialog"><button>Close</button></form>
  </dialog>`);

const status = document.querySelector("#status");
const problem = document.querySelector("#problem");

/** Status message (aria-live polite). */
export function say(text) {
  status.textContent = text;
}

/** Error message, announced at once; it stays until `clear`. */
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
