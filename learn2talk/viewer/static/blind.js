// Blind comparison: two faces, with hidden assignment of methods to sides, and one question.

import { json, post, soundAddress } from "./api.js";
import { listen, turnByKeys } from "./keys.js";
import { Motion } from "./motion.js";
import { clear, complain, figure, say } from "./page.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";

const $ = (selector) => document.querySelector(selector);
const panes = $("#panes");
export const player = new Player($("audio"));
export const stage = new Stage($("#faces"), panes, complain);
let session = null;
let number = 0;

function section(name) {
  for (const one of ["setup", "trial", "result"]) $(`#${one}`).hidden = one !== name;
}

async function fill() {
  const about = await json("clips");
  const counts = new Map();
  for (const { methods } of about.clips) for (const name of methods) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = [...counts.keys()];
  const last = Math.max(0, names.length - 1);
  $("#first").replaceChildren(...names.map((name, i) => new Option(name, name, false, i === Math.max(0, last - 1))));
  $("#second").replaceChildren(...names.map((name, i) => new Option(name, name, false, i === last)));
  $("#question").replaceChildren(...Object.entries(about.questions).map(([key, text]) => new Option(text, key)));
  $("#begin").disabled = names.length < 2;
  if (names.length < 2) say("Two methods are needed. Start the viewer with a run or with several motion files.");
}

async function begin(event) {
  event.preventDefault();
  clear();
  try {
    const asked = {
      first: $("#first").value,
      second: $("#second").value,
      question: $("#question").value,
      trials: Number($("#count").value),
      person: $("#person").value.trim(),
    };
    session = await (await post("blind", asked)).json();
    number = 0;
    $("#asked").textContent = session.question;
    section("trial");
    await trial();
  } catch (error) {
    section("setup");
    complain(error);
  }
}

async function trial() {
  const id = session.clips[number];
  const about = await json(`clips/${id}`);
  const motions = await Promise.all(about.motions.map((one, i) => Motion.open(id, i, one)));
  const elements = motions.map(({ name }) => figure(name, ""));
  panes.querySelectorAll("figure").forEach((old) => old.remove());
  panes.append(...elements);
  choices(false);
  stage.show(motions.map((motion, i) => [elements[i], motion]));
  await player.open(soundAddress(id));
  stage.moveTo(0);
  $("#progress").textContent = `${number + 1} of ${session.clips.length}`;
  say(`Comparison ${number + 1} of ${session.clips.length}. Play it to the end, then choose.`);
  $("#play").focus();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!still) await player.play().catch(() => {}); // a browser may require a click first
}

/** Enable or disable the answers; they are enabled once the clip has been played to its end. */
function choices(possible) {
  for (const button of document.querySelectorAll(".choices [value]")) button.disabled = !possible;
}

async function choose(choice) {
  if (document.querySelector(".choices [value]").disabled) return;
  choices(false);
  player.audio.pause();
  try {
    await post(`blind/${session.id}/${number}`, { choice });
    number++;
    if (number < session.clips.length) await trial();
    else await result();
  } catch (error) {
    choices(true);
    complain(error);
  }
}

async function result() {
  const found = await json(`blind/${session.id}`);
  const rows = [["This session", found.session], ["All recorded sessions", found.all]].map(([title, one]) => {
    const row = document.createElement("tr");
    const percent = (share) => (one.first_wins + one.second_wins ? ` (${(100 * share).toFixed(0)} %)` : "");
    const p = one.p_value < 0.001 ? "< 0.001" : one.p_value.toFixed(3);
    const first = `${one.first_wins}${percent(one.share)}`;
    const second = `${one.second_wins}${percent(1 - one.share)}`;
    const cells = [title, first, second, one.ties, p];
    row.append(...cells.map((text, i) => Object.assign(document.createElement(i ? "td" : "th"), { textContent: text })));
    row.firstChild.scope = "row";
    return row;
  });
  $("#name-first").textContent = found.session.first;
  $("#name-second").textContent = found.session.second;
  $("#rows").replaceChildren(...rows);
  $("#kept").textContent = found.file;
  section("result");
  $("#result h2").focus();
  say("Done. Thank you.");
}

function changed() {
  $("#play").textContent = player.playing ? "Pause" : "Play";
  if (player.audio.ended && session && !$("#trial").hidden) {
    choices(true);
    say("Choose: left, no difference, or right.");
  }
}

const play = () => (player.playing ? player.audio.pause() : player.play().catch(complain));
player.addEventListener("time", () => stage.moveTo(player.time));
player.addEventListener("change", changed);
$("#play").addEventListener("click", play);
$("#setup form").addEventListener("submit", begin);
$("#again").addEventListener("click", () => section("setup"));
for (const button of document.querySelectorAll(".choices [value]")) {
  button.addEventListener("click", () => choose(button.value));
}
turnByKeys(panes, stage);
listen(
  [
    ["Space k", "Play or pause", play],
    ["1", "Left is better", () => choose("left")],
    ["2", "No difference", () => choose("tie")],
    ["3", "Right is better", () => choose("right")],
    ["r", "Front view", () => stage.face()],
    ["?", "These keys", () => $("#help").showModal()],
  ],
  $("#help"),
);
section("setup");
fill().catch(complain);
