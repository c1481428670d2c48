// The page of the server: what is loaded, how it goes, and a stream to try. No packages, no other sites.
"use strict";

const $ = (id) => document.getElementById(id);
const WIDTH = 240;        // steps that a picture shows
const MOST_LINES = 6;     // outputs that are drawn
const STEPS_AT_ONCE = 64; // of a message
let token = "";

async function get(path, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, ...options });
  if (answer.status === 401) { $("key").hidden = false; throw new Error("a token is needed"); }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

// ---- Models and how they do ------------------------------------------------------------------------------------------

const models = new Map(); // name -> {about, streams, row}
let before = null;

function tensor(info) {
  const sizes = info.shape.map((n, k) => (n >= 0 ? n : k === 0 ? "rows" : k === 1 ? "steps" : "any"));
  return `${info.name}: ${info.datatype} (${sizes.join(", ")})`;
}

function cell(row, text, number) {
  const made = row.insertCell();
  made.textContent = text;
  if (number) made.className = "number";
  return made;
}

async function load() {
  const server = await (await get("v2")).json();
  $("version").textContent = server.version;
  const whole = [];
  const index = await (await get("v2/repository/index", { method: "POST" })).json();
  for (const { name } of index) {
    const base = `v2/models/${encodeURIComponent(name)}`;
    const about = await (await get(base)).json();
    const config = await (await get(`${base}/config`)).json();
    const row = $("models").insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    cell(row, about.inputs.map(tensor).join("; "));
    cell(row, about.outputs.map(tensor).join("; "));
    const numbers = [0, 1, 2, 3].map(() => cell(row, "–", true));
    models.set(name, { about, numbers, base });
    if (config.rnnx.streams) $("model").add(new Option(name));
    else whole.push(name);
  }
  if (whole.length) {
    $("whole").hidden = false;
    $("whole").textContent = `Only as a whole, and so not here: ${whole.join(", ")}`;
  }
  $("run").disabled = !$("model").options.length;
}

function sums(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const match = /^rnnx_(\w+)\{(?:[^}]*,)?model="((?:[^"\\]|\\.)*)"(?:,[^}]*)?\} (\S+)$/.exec(line);
    if (match) {
      const key = `${match[1]} ${JSON.parse(`"${match[2]}"`)}`;
      found[key] = (found[key] || 0) + Number(match[3]);
    }
  }
  return found;
}

async function watch() {
  try {
    const now = { time: performance.now(), sums: sums(await (await get("metrics")).text()) };
    for (const [name, { numbers }] of models) {
      const of = (what, at = now) => at.sums[`${what} ${name}`] || 0;
      if (before) {
        const done = of("request_seconds_count") - of("request_seconds_count", before);
        const taken = of("request_seconds_sum") - of("request_seconds_sum", before);
        numbers[0].textContent = (done / (now.time - before.time) * 1000).toFixed(0);
        numbers[1].textContent = done ? (taken / done * 1000).toFixed(3) : "–";
      }
      numbers[2].textContent = of("waiting_rows");
      numbers[3].textContent = of("sequences");
    }
    before = now;
    $("health").textContent = "ready";
  } catch (error) {
    $("health").textContent = `not reached: ${error.message}`;
  }
}

// ---- Signals ---------------------------------------------------------------------------------------------------------

const drawn = { value: 0 };
let walk = [], clock = 0, sound = null, place = 0;

function nextStep(features) {
  const kind = $("signal").value;
  clock += 1;
  if (kind === "sine") return Array.from({ length: features }, (_, k) => Math.sin(clock / 12 * (1 + k / 3)));
  if (kind === "draw") return Array(features).fill(drawn.value);
  if (kind === "file") {
    if (!sound) return null;
    return Array.from({ length: features }, () => sound[place++ % sound.length]);
  }
  if (walk.length !== features) walk = Array(features).fill(0);
  walk = walk.map((v) => Math.max(-2, Math.min(2, v * 0.97 + (Math.random() - 0.5) * 0.5)));
  return walk;
}

function readWav(buffer) {
  const view = new DataView(buffer);
  const word = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 44 || word(0) !== "RIFF" || word(8) !== "WAVE") throw new Error("not a WAV file");
  let at = 12, format = 0, channels = 0, bits = 0;
  while (at + 8 <= buffer.byteLength) {
    const name = word(at), size = view.getUint32(at + 4, true);
    if (name === "fmt ") [format, channels, bits] = [8, 10, 22].map((k) => view.getUint16(at + k, true));
    if (name === "data") {
      const start = at + 8, bytes = bits / 8, step = bytes * channels;
      const count = Math.floor(Math.min(size, buffer.byteLength - start) / step);
      const read = format === 3 && bits === 32 ? (k) => view.getFloat32(k, true)
        : format === 1 && bits === 16 ? (k) => view.getInt16(k, true) / 32768
        : format === 1 && bits === 8 ? (k) => view.getUint8(k) / 128 - 1 : null;
      if (!read || !count) throw new Error("only 8- and 16-bit PCM and 32-bit float are read");
      return Float32Array.from({ length: count }, (_, k) => read(start + k * step));
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("the file has no data");
}

// ---- Pictures --------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // told apart by colour-blind people too

function context(canvas, height) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  canvas.style.height = `${height}px`;
  const drawing = canvas.getContext("2d");
  drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawing.clearRect(0, 0, width, height);
  return [drawing, width, height];
}

function lineColor(k) { return dark.matches && k === 0 ? "#6cb6ff" : LINES[k]; }

function tell(id, values, digits) { // in the colours of the lines
  $(id).replaceChildren(...values.slice(0, MOST_LINES).map((value, k) => {
    const made = document.createElement("span");
    made.textContent = value.toFixed(digits);
    made.style.borderColor = lineColor(k);
    return made;
  }));
}

function plot(canvas, height, rows) {
  const [drawing, width] = context(canvas, height);
  if (!rows.length) return;
  const lines = Math.min(rows[0].length, MOST_LINES);
  let low = 0, high = 0;
  for (const row of rows) for (let k = 0; k < lines; k++) { low = Math.min(low, row[k]); high = Math.max(high, row[k]); }
  const span = high - low || 1, y = (v) => height - 8 - (v - low) / span * (height - 16);
  drawing.strokeStyle = dark.matches ? "#4a525d" : "#c6ccd3";
  drawing.beginPath(); drawing.moveTo(0, y(0)); drawing.lineTo(width, y(0)); drawing.stroke();
  for (let k = 0; k < lines; k++) {
    drawing.strokeStyle = lineColor(k);
    drawing.lineWidth = 1.6;
    drawing.beginPath();
    rows.forEach((row, t) => drawing.lineTo(width * t / (WIDTH - 1), y(row[k])));
    drawing.stroke();
  }
  drawing.font = "11px system-ui";
  for (const [text, at] of [[high.toPrecision(3), 14], [low.toPrecision(3), height - 4]]) {
    drawing.fillStyle = dark.matches ? "#1d2229d0" : "#f4f5f7d0"; // over the lines
    drawing.fillRect(2, at - 11, drawing.measureText(text).width + 4, 14);
    drawing.fillStyle = dark.matches ? "#9aa4af" : "#57606a";
    drawing.fillText(text, 4, at);
  }
}

function shade(value, low) { // cividis, roughly: dark blue to yellow, told apart in grey as well
  const t = Math.max(0, Math.min(1, (value - low) / (1 - low)));
  const from = [0, 34, 78], middle = [124, 123, 120], to = [254, 232, 56];
  const [a, b, s] = t < 0.5 ? [from, middle, t * 2] : [middle, to, t * 2 - 1];
  return a.map((v, k) => v + (b[k] - v) * s);
}

const panels = new Map(); // title -> {canvas, columns}

function activity(values) {
  for (const [title, units] of Object.entries(values)) {
    let panel = panels.get(title);
    if (!panel || panel.units !== units[0].length) {
      panel = { canvas: document.createElement("canvas"), columns: [], units: units[0].length };
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = title;
      panel.canvas.setAttribute("role", "img");
      panel.canvas.setAttribute("aria-label", `${title}, units over steps`);
      panel.canvas.style.height = "110px";
      panel.canvas.style.imageRendering = "pixelated";
      figure.append(caption, panel.canvas);
      $("activity").append(figure);
      panels.set(title, panel);
    }
    panel.columns.push(...units);
    panel.columns.splice(0, Math.max(0, panel.columns.length - WIDTH));
    panel.canvas.width = WIDTH;
    panel.canvas.height = panel.units;
    const drawing = panel.canvas.getContext("2d"), image = drawing.createImageData(WIDTH, panel.units);
    const low = title.includes("gate") ? 0 : -1;
    panel.columns.forEach((column, x) => column.forEach((value, y) => {
      const at = 4 * (y * WIDTH + x);
      image.data.set(shade(value, low), at);
      image.data[at + 3] = 255;
    }));
    drawing.putImageData(image, 0, 0);
  }
}

function clearPictures() {
  inputs.length = outputs.length = 0;
  panels.clear();
  for (const id of ["input-now", "output-now"]) $(id).replaceChildren();
  $("activity").replaceChildren();
  plot($("input"), 120, inputs);
  plot($("output"), 160, outputs);
}

// ---- The stream ------------------------------------------------------------------------------------------------------

const inputs = [], outputs = [];
let socket = null, timer = null, waiting = false, resume = null, due = 0;

function numbers(value) { return Array.isArray(value) ? value.flat(Infinity) : [value]; }

function send() {
  if (!socket || socket.readyState !== WebSocket.OPEN || waiting) return;
  const info = models.get($("model").value).about.inputs[0];
  const now = performance.now(), rate = Math.min(1000, Math.max(1, Number($("rate").value) || 1));
  const count = Math.min(STEPS_AT_ONCE, Math.floor((now - due) * rate / 1000));
  if (count < 1) return;
  if (now - due > 1000) {
    due = now;
    $("said").textContent = `The model does not keep up with ${rate} steps a second.`;
  } else {
    due += count * 1000 / rate;
  }
  const whole = info.datatype.startsWith("INT"), shape = info.shape.slice(2), size = shape.reduce((a, b) => a * b, 1);
  const data = [];
  for (let k = 0; k < count; k++) {
    let step = nextStep(size);
    if (!step) { $("said").textContent = "Choose a WAV file first."; return; }
    if (whole) step = step.map((v) => Math.abs(Math.round(v * 2)));
    inputs.push(step);
    data.push(shape.length === 0 ? step[0] : shape.length === 1 ? step : reshaped(step, shape));
  }
  inputs.splice(0, Math.max(0, inputs.length - WIDTH));
  waiting = true;
  socket.send(JSON.stringify({ data, activity: true }));
}

function reshaped(flat, shape) {
  if (shape.length === 1) return flat;
  const size = flat.length / shape[0];
  return Array.from({ length: shape[0] }, (_, k) => reshaped(flat.slice(k * size, (k + 1) * size), shape.slice(1)));
}

function receive(message) {
  waiting = false;
  const answer = JSON.parse(message.data);
  if (answer.error) { stop(); $("said").textContent = answer.error; return; }
  if (answer.token) { resume = answer.token; $("said").textContent = answer.resumed ? "The stream goes on." : ""; return; }
  if (answer.data) {
    outputs.push(...answer.data.map(numbers));
    outputs.splice(0, Math.max(0, outputs.length - WIDTH));
    tell("input-now", inputs.at(-1), 2);
    tell("output-now", outputs.at(-1), 3);
    plot($("input"), 120, inputs);
    plot($("output"), 160, outputs);
  }
  if (answer.activity) activity(answer.activity);
}

function start() {
  const path = `${models.get($("model").value).base}/stream${resume ? `?token=${encodeURIComponent(resume)}` : ""}`;
  const own = socket = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")));
  own.onopen = () => { if (token) own.send(JSON.stringify({ token })); };
  own.onmessage = (message) => { if (socket === own) receive(message); }; // of one that was left something may still come
  own.onclose = () => {
    if (socket !== own) return;
    stop();
    $("said").textContent ||= "The connection has ended; Start goes on.";
  };
  $("said").textContent = "";
  waiting = true; // for the first message
  due = performance.now();
  timer = setInterval(send, 20);
  $("run").textContent = "Stop";
}

function stop() {
  clearInterval(timer);
  timer = null;
  if (socket) leave(socket);
  socket = null;
  $("run").textContent = "Start";
}

function leave(own) { // browsers complain of a connection that is closed while it is made
  if (own.readyState === WebSocket.CONNECTING) own.onopen = () => own.close();
  else own.close();
}

// ---- What people do --------------------------------------------------------------------------------------------------

$("run").onclick = () => (timer ? stop() : start());
$("reset").onclick = () => {
  clearPictures();
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ reset: true }));
  else resume = null;
};
$("model").onchange = () => { stop(); resume = null; walk = []; clearPictures(); };
$("signal").onchange = () => { $("file-label").hidden = $("signal").value !== "file"; };
$("file").onchange = async () => {
  try {
    sound = readWav(await $("file").files[0].arrayBuffer());
    place = 0;
    $("said").textContent = `${sound.length} samples`;
  } catch (error) {
    $("said").textContent = error.message;
  }
};
$("input").onpointermove = (event) => {
  if (!event.buttons) return;
  const box = $("input").getBoundingClientRect();
  drawn.value = Math.max(-1, Math.min(1, 1 - 2 * (event.clientY - box.top) / box.height));
  $("signal").value = "draw";
};
$("input").onkeydown = (event) => {
  const change = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
  if (change === undefined) return;
  event.preventDefault();
  drawn.value = Math.max(-1, Math.min(1, drawn.value + change));
  $("signal").value = "draw";
};
$("key").onsubmit = (event) => {
  event.preventDefault();
  token = $("token").value;
  $("key").hidden = true;
  begin();
};

async function begin() {
  try {
    if (!models.size) await load();
    await watch();
    setInterval(watch, 1000);
  } catch (error) {
    $("health").textContent = error.message;
  }
}

clearPictures();
begin();
