// The viewer: a clip with its faces side by side, playback and timeline.

import { Refused, binary, json, send, soundAddress } from "./api.js";
import { gradient } from "./colours.js";
import { listen, turnByKeys } from "./keys.js";
import { Motion } from "./motion.js";
import { clear, complain, figure, say } from "./page.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";

const $ = (selector) => document.querySelector(selector);
const panes = $("#panes");
export const player = new Player($("audio"));
export const stage = new Stage($("#faces"), panes, complain);
export const timeline = new Timeline($("#timeline"), $("#head"), player);
let limits = { bytes: Infinity, seconds: Infinity };
let clip = null;
let asked = 0; // number of clips requested; only the newest request is shown
let upload = null;

const COLOURS = ["--first", "--second", "--third", "--fourth"];
const colour = (i) => COLOURS[i % COLOURS.length];
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;

async function fillList(chosen) {
  const about = await json("clips");
  limits = about.limits;
  const select = $("#clip");
  select.replaceChildren();
  const groups = new Map();
  for (const { id, title, group } of about.clips.filter((one) => one.methods.length)) {
    if (!groups.has(group)) {
      groups.set(group, document.createElement("optgroup"));
      groups.get(group).label = group;
      select.append(groups.get(group));
    }
    groups.get(group).append(new Option(title, id, false, id === chosen));
  }
  const count = select.options.length;
  $("#empty").hidden = count > 0;
  for (const id of ["#playing", ".timeline", "#looks"]) $(id).hidden = count === 0;
  for (const id of ["#clip-label", "#before", "#after"]) $(id).hidden = count < 2;
  return select.value;
}

async function open(id) {
  const turn = ++asked;
  try {
    const about = await json(`clips/${id}`);
    const motions = await Promise.all(about.motions.map((one, i) => Motion.open(id, i, one)));
    if (turn !== asked) return;
    clip = about;
    clear();
    const elements = motions.map(({ name }, i) => figure(name, colour(i)));
    panes.querySelectorAll("figure").forEach((old) => old.remove());
    const avatars = motions.filter((motion) => motion.avatar).map((motion) => [figure(`${motion.name}, splats`, ""), motion, true]);
    panes.append(...elements, ...avatars.map(([element]) => element));
    $("#text").textContent = about.text || about.title;
    $("#note").textContent = about.note;
    fillAgainst(motions, about.truth ?? 0);
    stage.show([...motions.map((motion, i) => [elements[i], motion]), ...avatars]);
    await player.open(soundAddress(id));
    if (turn !== asked) return;
    look();
    moved();
    say(`${about.title} (${motions.map((motion) => motion.name).join(", ")}; ${about.seconds.toFixed(1)} seconds)`);
    const peaks = new Float32Array(await binary(`clips/${id}/peaks`));
    const mm = await Promise.all(motions.map((motion) => motion.opening()));
    if (turn !== asked) return;
    timeline.show(about, peaks, motions.map(({ fps }, i) => ({ fps, mm: mm[i], colour: colour(i) })));
    moved();
  } catch (error) {
    if (turn === asked) complain(error);
  }
}

function fillAgainst(motions, truth) {
  $("#against").replaceChildren(...motions.map(({ name }, i) => new Option(name, i, false, i === truth)));
  const alone = motions.length < 2;
  $("#heat").disabled = $("#heat-label").hidden = alone;
  if (alone) $("#heat").checked = false;
}

function look() {
  const heat = $("#heat").checked;
  const most = Number($("#most").value);
  for (const id of ["#scale", "#against-label", "#most-choice"]) $(id).hidden = !heat;
  $("#most-label").textContent = `${most} mm`;
  stage.look({ heat, most, wires: $("#wires").checked, against: Number($("#against").value) });
  errorsNow();
}

/** Write mean and largest error of the current frame as text. */
function errorsNow() {
  for (const [i, pane] of stage.panes.entries()) {
    const text = pane.element.querySelector(".errors");
    let sum = 0, largest = 0;
    for (const mm of pane.errors) [sum, largest] = [sum + mm, Math.max(largest, mm)];
    const found = `mean ${(sum / pane.errors.length).toFixed(2)}, largest ${largest.toFixed(1)} mm`;
    if (!stage.seen.heat || i === stage.seen.against || pane.frame < 0) text.textContent = "";
    else text.textContent = pane.compared ? found : "different mesh";
  }
}

function moved() {
  const { time, duration } = player;
  stage.moveTo(time);
  timeline.moveTo(time);
  const said = clip?.phonemes.find(([start, end]) => start <= time && time < end)?.[2].toLowerCase();
  const slider = $("#time");
  slider.max = duration;
  if (document.activeElement !== slider || player.playing) slider.value = time;
  slider.setAttribute("aria-valuetext", `${time.toFixed(2)} of ${duration.toFixed(2)} seconds${said ? `, ${said}` : ""}`);
  $("#clock").textContent = `${clock(time)} / ${clock(duration)}`;
  $("#phoneme").textContent = said ?? "";
  if (stage.seen.heat) errorsNow();
}

function changed() {
  $("#play").textContent = player.playing ? "Pause" : "Play";
  $("#play").classList.toggle("playing", player.playing);
  moved();
}

const play = () => (player.playing ? player.audio.pause() : player.play().catch(complain));
const step = (frames) => {
  const fps = stage.panes[0]?.motion.fps ?? 30;
  player.audio.pause();
  player.seek((Math.round(player.time * fps) + frames) / fps);
};

function other(by) {
  const select = $("#clip");
  const next = select.selectedIndex + by;
  if (next < 0 || next >= select.options.length) return;
  select.selectedIndex = next;
  open(select.value);
}

const check = (selector) => {
  const box = $(selector);
  if (box.disabled) return;
  box.checked = !box.checked;
  look();
  say(`${box.labels[0].textContent.trim()}: ${box.checked ? "on" : "off"}`);
};

async function animate(file) {
  upload?.abort();
  const own = (upload = new AbortController());
  clear();
  $("#cancel").hidden = false;
  say(`Animating ${file.name} …`);
  panes.setAttribute("aria-busy", "true");
  try {
    if (file.size > limits.bytes) {
      const taken = `At most ${limits.bytes / 2 ** 20} MiB are accepted`;
      throw new Refused(413, `${file.name}: ${taken}, this has ${(file.size / 2 ** 20).toFixed(0)}.`);
    }
    const query = new URLSearchParams({ name: file.name, style: $("#style").value.trim() });
    const sent = (share) => {
      say(share < 1 ? `Sending ${file.name}: ${Math.round(100 * share)} %` : `Animating ${file.name} …`);
    };
    const { id } = await send(`animate?${query}`, file, own.signal, sent);
    await fillList(id);
    await open(id);
    say(`${file.name} is animated.`);
  } catch (error) {
    complain(error);
    say(error.name === "AbortError" ? "Cancelled." : "The sound could not be animated.");
  } finally {
    if (upload === own) {
      $("#cancel").hidden = true;
      panes.removeAttribute("aria-busy");
      upload = null;
    }
  }
}

player.addEventListener("change", changed);
player.addEventListener("time", moved);
$("#play").addEventListener("click", play);
$("#time").addEventListener("input", (event) => player.seek(Number(event.target.value)));
$("#speed").addEventListener("change", (event) => (player.speed = Number(event.target.value)));
$("#loop").addEventListener("change", (event) => (player.audio.loop = event.target.checked));
$("#clip").addEventListener("change", (event) => open(event.target.value));
$("#before").addEventListener("click", () => other(-1));
$("#after").addEventListener("click", () => other(1));
$("#front").addEventListener("click", () => stage.face());
for (const id of ["#heat", "#wires", "#against", "#most"]) $(id).addEventListener("change", look);
$("#open").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", (event) => {
  if (event.target.files.length) animate(event.target.files[0]);
  event.target.value = "";
});
$("#cancel").addEventListener("click", () => upload?.abort());
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) animate(event.dataTransfer.files[0]);
  });
}

turnByKeys(panes, stage);
listen(
  [
    ["Space k", "Play or pause", play],
    ["ArrowLeft", "One frame back", () => step(-1)],
    ["ArrowRight", "One frame forward", () => step(1)],
    ["Shift+ArrowLeft j", "One second back", () => player.seek(player.time - 1)],
    ["Shift+ArrowRight l", "One second forward", () => player.seek(player.time + 1)],
    ["Home", "To the start", () => player.seek(0)],
    ["End", "To the end", () => player.seek(player.duration)],
    ["PageUp p", "Previous clip", () => other(-1)],
    ["PageDown n", "Next clip", () => other(1)],
    ["h", "Error heat map", () => check("#heat")],
    ["w", "Wireframe", () => check("#wires")],
    ["r", "Front view", () => stage.face()],
    ["o", "Open a sound to animate", () => $("#file").click()],
    ["?", "These keys", () => $("#help").showModal()],
  ],
  $("#help"),
);
$("#bar").style.background = gradient();
fillList().then((id) => id && open(id), complain);
