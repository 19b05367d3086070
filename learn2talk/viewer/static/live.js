// Live: sound from the microphone or a file is sent to the server piece by piece, which returns states of a face.
// Frames arrive in bursts, so the face is shown with a delay after the sound, long enough that each frame is there in
// time. Playback of the sound has the same delay.

import { json, post, soundAddress } from "./api.js";
import { listen, turnByKeys } from "./keys.js";
import { decode, openFace, turn } from "./motion.js";
import { clear, complain, figure, say } from "./page.js";
import { Stage } from "./stage.js";

const $ = (selector) => document.querySelector(selector);
const SPARE = 0.25; // seconds to record, send and process a piece
const PIECE = 0.1; // seconds of sound per piece
const MOST = 8; // largest delay of the sound in seconds
const KEPT = 30; // seconds of states that are kept

/** The frames that have arrived, and the face they move; shown by `Stage`. */
class Arrived {
  constructor(about, face) {
    Object.assign(this, { face, fps: about.fps, columns: about.columns, name: about.name });
    this.width = about.columns + (about.head_moves ? 12 : 0); // numbers per frame: states and head pose [R | t]
    this.rows = new Map();
    this.frames = 0;
  }

  add(states) {
    for (let start = 0; start < states.length; start += this.width) {
      this.rows.set(this.frames++, states.subarray(start, start + this.width));
      this.rows.delete(this.frames - KEPT * this.fps);
    }
  }

  frameAt(seconds) {
    return Math.max(0, Math.min(this.frames - 1, Math.round(seconds * this.fps)));
  }

  has(frame) {
    return this.rows.has(frame);
  }

  vertices(frame, out) {
    const row = this.rows.get(frame);
    decode(this.face, row.subarray(0, this.columns), 1, out);
    if (this.width > this.columns) turn(row.subarray(this.columns), this.face.follow, out);
  }

  load() {
    return Promise.resolve();
  }

  ahead() {}
}

const panes = $("#panes");
export const stage = new Stage($("#faces"), panes, complain);
let about = null;
export let session = null;

class Session {
  constructor(context, motion, key) {
    Object.assign(this, { context, motion, key });
    this.delay = about.live.chunk + about.live.look_ahead + SPARE;
    this.held = new DelayNode(context, { delayTime: this.delay, maxDelayTime: MOST });
    this.queue = [];
    this.start = null;
    this.over = false; // no more sound is recorded
    this.all = false; // all frames have arrived
    this.slowest = 0; // slowest answer in seconds
    this.late = 0; // total seconds for which the frame was missing
    this.seen = 0;
    this.sending = Promise.resolve();
  }

  /** Send a piece of sound to the server; pieces that have to wait are sent together. */
  heard({ start, samples }) {
    this.start ??= start;
    this.queue.push(samples);
    level(samples);
    if (this.queue.length === 1) this.sending = this.sending.then(() => this.send()).catch((error) => this.stop(error));
  }

  async send(last = false) {
    if (this.over && !last) return;
    const pieces = this.queue.splice(0);
    const samples = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let place = 0;
    for (const piece of pieces) {
      samples.set(piece, place);
      place += piece.length;
    }
    const begin = performance.now();
    const answer = await post(`live/${this.key}${last ? "?last=1" : ""}`, samples);
    this.motion.add(new Float32Array(await answer.arrayBuffer()));
    this.all = last;
    this.slowest = Math.max(this.slowest, (performance.now() - begin) / 1000);
    this.hold(Math.min(MOST, about.live.chunk + about.live.look_ahead + 2 * PIECE + this.slowest));
  }

  /** Increase the delay to at least `seconds`; it never decreases, since an answer may be as slow again. */
  hold(seconds) {
    if (seconds <= this.delay) return;
    this.delay = seconds;
    this.held.delayTime.value = seconds;
  }

  /** Show the frame of the sound `delay` seconds ago, until the session has ended and all frames were shown. */
  show() {
    if (session !== this) return;
    if (this.start !== null) {
      const seconds = this.context.currentTime - this.start - this.delay;
      const behind = Math.round(seconds * this.motion.fps) >= this.motion.frames;
      if (this.motion.frames && seconds >= 0) stage.moveTo(seconds);
      if (this.all && behind) return finished(this);
      if (!this.over && behind) this.late += this.context.currentTime - this.seen;
      tell(this);
    }
    this.seen = this.context.currentTime;
    requestAnimationFrame(() => this.show());
  }

  /** End the sound; the remaining frames are still shown, unless there was an error. */
  async stop(error = null) {
    if (this.over) return;
    this.over = true;
    this.close();
    if (error) {
      complain(error);
      finished(this);
      return;
    }
    try {
      await this.sending;
      await this.send(true);
    } catch (problem) {
      complain(problem);
      finished(this);
    }
  }
}

function finished(own) {
  if (session !== own) return;
  session = null;
  own.context.close();
  idle(true);
  for (const button of document.querySelectorAll(".source")) button.disabled = false;
  $("#level").value = 0;
  say("Stopped.");
}

/** Controls that have nothing to do are hidden: there is nothing to stop and no level without sound. */
function idle(quiet) {
  $("#stop").disabled = quiet;
  for (const id of ["#stop", "#level-label"]) $(id).hidden = quiet;
}

function tell({ delay, slowest, late }) {
  const { chunk, look_ahead: ahead } = about.live;
  $("#delay").textContent =
    `The face is ${delay.toFixed(2)} s behind the sound: ${chunk} s chunk, ${ahead} s look-ahead, the rest is for ` +
    `transfer and computation. Slowest answer ${slowest.toFixed(2)} s; the face has waited ${late.toFixed(1)} s.`;
}

function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / samples.length / 32768 ** 2 + 1e-9);
  $("#level").value = Math.max(0, 1 + decibels / 60);
}

/** Start a session: `connect(context)` returns the source node, and a function that stops it. */
async function begin(name, connect, audible) {
  clear();
  for (const button of document.querySelectorAll(".source")) button.disabled = true;
  say(`${name} …`);
  const context = new AudioContext();
  try {
    const source = await connect(context);
    await context.audioWorklet.addModule("listener.js");
    const query = new URLSearchParams({ style: $("#style").value.trim() });
    const { id, motion } = await (await post(`live?${query}`, {})).json();
    const arrived = new Arrived(motion, await openFace(motion));
    const element = figure(name, "");
    panes.querySelectorAll("figure").forEach((old) => old.remove());
    panes.append(element);
    stage.show([[element, arrived]]);
    const own = (session = new Session(context, arrived, id));
    const listener = new AudioWorkletNode(context, "listener", { numberOfOutputs: 0 });
    listener.port.onmessage = ({ data }) => session === own && !own.over && own.heard(data);
    source.node.connect(listener);
    source.node.connect(own.held);
    if (audible) own.held.connect(context.destination);
    own.close = source.close;
    source.begin?.(() => setTimeout(() => own.stop(), 200));
    idle(false);
    $("#stop").focus();
    own.show();
    say(`Listening to ${name}.`);
  } catch (error) {
    context.close();
    for (const button of document.querySelectorAll(".source")) button.disabled = false;
    const denied = ["NotAllowedError", "NotFoundError"].includes(error.name);
    complain(denied ? new Error("No microphone: allow it in the browser's address bar, or connect one.") : error);
  }
}

async function microphone(context) {
  const constraints = { audio: { channelCount: 1, echoCancellation: false, autoGainControl: false } };
  const stream = await navigator.mediaDevices.getUserMedia(constraints);
  const close = () => stream.getTracks().forEach((track) => track.stop());
  return { node: context.createMediaStreamSource(stream), close };
}

/** A source that plays a sound in real time, in place of the microphone. */
const spoken = (fetchIt) => async (context) => {
  const node = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(await fetchIt()) });
  const begin = (ended) => {
    node.onended = ended;
    node.start();
  };
  return { node, begin, close: () => node.stop() };
};

function addSounds(clips) {
  for (const { id, title } of clips.filter((clip) => !clip.methods.length)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "source";
    button.textContent = `Play ${title}`;
    const fetchIt = async () => (await fetch(soundAddress(id))).arrayBuffer();
    button.addEventListener("click", () => begin(title, spoken(fetchIt), true));
    $("#sounds").append(button);
  }
}

const stop = () => session?.stop();
$("#microphone").addEventListener("click", () => begin("Microphone", microphone, $("#hear").checked));
$("#open").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) begin(file.name, spoken(() => file.arrayBuffer()), true);
  event.target.value = "";
});
$("#stop").addEventListener("click", stop);
$("#front").addEventListener("click", () => stage.face());
turnByKeys(panes, stage);
listen(
  [
    ["m", "Use the microphone", () => !session && $("#microphone").click()],
    ["o", "Open a sound", () => !session && $("#file").click()],
    ["s Escape", "Stop", stop],
    ["r", "Front view", () => stage.face()],
    ["?", "These keys", () => $("#help").showModal()],
  ],
  $("#help"),
);

/** Show the face at rest until there is sound. */
async function rest() {
  const { motion } = await json("live/face");
  const arrived = new Arrived(motion, await openFace(motion));
  if (session || stage.panes.length) return;
  arrived.add(new Float32Array(arrived.width));
  const element = figure(motion.name, "");
  panes.append(element);
  stage.show([[element, arrived]]);
  stage.moveTo(0);
}

json("clips").then((answer) => {
  about = answer;
  $("#style").value = about.live.style;
  addSounds(about.clips);
  const delay = about.live.chunk + about.live.look_ahead + SPARE;
  $("#delay").textContent = `The face will be ${delay.toFixed(2)} s behind the sound.`;
  for (const button of document.querySelectorAll(".source")) button.disabled = false;
  return rest();
}).catch(complain);
