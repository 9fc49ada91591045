import { connect, upload } from "./connection.js";
import { MINUS } from "./picture.js";
import { Space } from "./space.js";
import { Spectrum } from "./spectrum.js";

const at = (id) => document.getElementById(id);
const shown = (value, digits = 0) => (value === null ? "–" : value.toFixed(digits).replace("-", MINUS));
let hello = null;
let greeting = "";
let state = null;
let last = null; // the last frame
let wrong = ""; // the error of the last action on this page
const pictures = {};

const hear = (message) => {
  if (message.type === "hello") begin(message);
  else if (message.type === "state") tell(message);
  else if (message.type === "frame") show(message);
  else complain(message.says);
};

const begin = (message) => {
  const text = JSON.stringify(message);
  if (greeting && text !== greeting) location.reload(); // the view has been restarted with other options
  greeting = text;
  hello = message;
  at("probability").textContent = `${Math.round(100 * hello.probability)} %`;
  pictures.space ??= new Space(at("space"), hello.space); // keep the picture after a reconnection
};

const tell = (message) => {
  state = message;
  const is = state.serving === null ? "unknown" : state.serving ? "serving" : "away";
  const says = {
    unknown: `connecting to ${hello.target}`,
    serving: `${hello.target} answers`,
    away: `waiting for ${hello.target}: ${state.server_says}`,
  };
  status(is, says[is]);
  for (const button of document.querySelectorAll("[data-show]")) {
    button.ariaPressed = String(button.dataset.show === state.show);
    if (button.dataset.show === "file") button.disabled = state.file === null;
  }
  at("run").textContent = state.running ? "Pause" : "Start";
  const rate = at("rate");
  if (![...rate.options].some((option) => Number(option.value) === state.rate_hz)) {
    rate.add(new Option(`${state.rate_hz} a second`, state.rate_hz));
  }
  rate.value = state.rate_hz;
  at("spectrum-on").checked = state.spectrum;
  at("spectrum-part").hidden = !state.has_spectrum;
  if (state.has_spectrum && !pictures.spectrum) {
    pictures.spectrum = new Spectrum(at("spectrum"), hello.spectrum, () => at("cut").value);
    if (last) pictures.spectrum.show(last);
  }
  at("spectrum").hidden = !state.spectrum;
  note();
};

// The page keeps showing the last frame; it is marked as stale while the server is unavailable.
const status = (is, says) => {
  at("server").dataset.is = is;
  if (at("server").textContent !== says) at("server").textContent = says;
  document.body.classList.toggle("stale", is === "away");
};

const note = () => {
  const text = wrong || state?.note || "";
  at("note").textContent = text;
  at("note").hidden = !text;
  at("note").dataset.is = wrong ? "wrong" : "note";
};

const complain = (text) => {
  wrong = text;
  note();
};

const show = (frame) => {
  last = frame;
  const truth = frame.true_m !== null;
  at("num-found").textContent = frame.found.length;
  at("num-true").textContent = truth ? frame.true_m.length : "–";
  at("snr").textContent = `${shown(frame.snr_db)} dB`;
  at("latency").textContent = `${shown(frame.latency_ms)} ms`;
  at("rate-now").textContent = frame.rate_hz === null ? "–" : `${shown(frame.rate_hz, 1)} /s`;
  at("title").textContent = frame.title;
  at("version").textContent = frame.model_version;
  for (const key of document.querySelectorAll("[data-truth]")) key.hidden = (key.dataset.truth === "yes") !== truth;
  document.querySelector(".key.true").hidden = !truth;
  document.querySelector(".key.trail").hidden = !frame.moving;
  at("sources").querySelector("tbody").replaceChildren(...frame.found.map(row), ...blankRows(frame));
  for (const picture of Object.values(pictures)) picture.show(frame);
};

// Blank rows keep the layout fixed, whatever the number of sources.
const blankRows = (frame) =>
  Array.from({ length: Math.max(hello.most_sources - frame.found.length, 0) }, () => {
    const line = document.createElement("tr");
    line.ariaHidden = "true";
    line.append(Object.assign(document.createElement("td"), { colSpan: 6, textContent: "\u00a0" }));
    return line;
  });

const row = (source) => {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const name = source.hit === false ? "outside the gate" : source.hit ? "within the gate" : "source";
  head.innerHTML = `<span class="key ${source.hit === false ? "miss" : "hit"}" aria-hidden="true"></span>`;
  head.ariaLabel = head.title = name;
  const cells = [
    `${shown(source.azimuth_deg, 1)}°`,
    `${shown(source.elevation_deg, 1)}°`,
    `${shown(source.range_m, 2)} m`,
    source.deviation_m === null ? "–" : `± ${shown(source.deviation_m, 2)} m`,
    shown(source.score, 2),
  ];
  line.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
};

const send = connect(hear, () => status("away", "the view has stopped; waiting for it to restart"));

const act = (command, value) => {
  complain("");
  send(command, value);
};
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => act("show", button.dataset.show));
}
at("run").addEventListener("click", () => act(state?.running ? "pause" : "start"));
at("step").addEventListener("click", () => act("step"));
at("rate").addEventListener("change", () => act("rate", Number(at("rate").value)));
at("spectrum-on").addEventListener("change", () => act("spectrum", at("spectrum-on").checked));
at("cut").addEventListener("change", () => pictures.spectrum.soon());
at("controls").addEventListener("submit", (event) => event.preventDefault());

const take = async (file) => {
  if (file && hello) complain(await upload(file, hello.upload_bytes));
};
at("file").addEventListener("change", async () => {
  await take(at("file").files[0]);
  at("file").value = "";
});
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").hidden = !holdsFiles(event);
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").hidden = true;
});
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").hidden = true;
  take(event.dataTransfer?.files[0]);
});
