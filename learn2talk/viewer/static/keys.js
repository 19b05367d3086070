// Keyboard shortcuts, and the dialog that lists them. They can be turned off there, e.g. for speech input (WCAG 2.1.4).

const SETTING = "learn2talk-keys";
const OWN = new Set(["INPUT", "SELECT", "TEXTAREA", "BUTTON", "A", "SUMMARY"]); // these handle keys themselves

/** `keys`: [key, description, function(event)]; "Shift+ArrowLeft" is a key with a modifier. */
export function listen(keys, dialog) {
  const list = dialog.querySelector("dl");
  for (const [key, text] of keys) {
    const term = document.createElement("dt");
    for (const one of key.split(" ")) {
      const kbd = document.createElement("kbd");
      kbd.textContent = one.replace("Arrow", "").replace("Space", "Space bar");
      term.append(kbd, " ");
    }
    const meaning = document.createElement("dd");
    meaning.textContent = text;
    list.append(term, meaning);
  }
  const on = dialog.querySelector("input");
  on.checked = localStorage.getItem(SETTING) !== "off";
  on.addEventListener("change", () => localStorage.setItem(SETTING, on.checked ? "on" : "off"));
  document.querySelector("#help-button").addEventListener("click", () => dialog.showModal());

  const functions = new Map(keys.flatMap(([key, , run]) => key.split(" ").map((one) => [one, run])));
  document.addEventListener("keydown", (event) => {
    if (!on.checked || dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const focus = document.activeElement;
    const typed = focus.matches("input:not([type=checkbox], [type=range]), select, textarea");
    const moves = ["Space", "Enter"].includes(name) || (name.startsWith("Arrow") && focus.type === "range");
    if (typed || (OWN.has(focus.tagName) && moves)) return;
    const run = functions.get(event.shiftKey && event.key.length > 1 ? `Shift+${name}` : name);
    if (!run || event.defaultPrevented) return;
    event.preventDefault();
    run(event);
  });
}

/** Arrow keys turn the faces, plus and minus zoom, while the faces have the focus. */
export function turnByKeys(host, stage) {
  const steps = {
    ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1],
    "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1],
  };
  host.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    stage.orbit(...steps[event.key]);
  });
}
