// Shows what the JSON beside it says, every few seconds. It only reads, and makes text of names, never markup.
"use strict";

const REFRESH_MS = 3000, ANSWER_MS = 6000, PAGE_ROWS = 50, SHORT_ROWS = 10, SEARCH_STEPS_MAX = 40;
const $ = (id) => document.getElementById(id);

// Characters that are not seen or reorder text, as everywhere in the program: the name is quoted, and they are escaped.
const DANGEROUS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const SPECIAL = new RegExp(DANGEROUS.source + '|["\\\\]', "g");
function visible(text) {
  if (!DANGEROUS.test(text) && !text.includes('"')) return text;
  const escape = (c) => c === '"' || c === "\\" ? "\\" + c : c === "\n" ? "\\n" : c === "\t" ? "\\t"
    : "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  return '"' + text.replace(SPECIAL, escape) + '"';
}
// Sentences may contain names.
const sentence = (text) => DANGEROUS.test(text) ? visible(text) : text;

const whole = new Intl.NumberFormat("en");
const count = (n) => n === null || n === undefined ? "–" : whole.format(n);
function bytes(n) {
  if (n === null || n === undefined) return "–";
  let unit = 0;
  for (; n >= 999.5 && unit < 6; unit++) n /= 1000;
  return (unit === 0 || n >= 99.95 ? n.toFixed(0) : n.toFixed(1)) + " " + ["B", "kB", "MB", "GB", "TB", "PB", "EB"][unit];
}
function lasting(s) {
  s = Math.floor(s);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + String(s % 60).padStart(2, "0") + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + String(Math.floor(s / 60) % 60).padStart(2, "0") + " min";
  return Math.floor(s / 86400) + " d " + Math.floor(s / 3600) % 24 + " h";
}
const pad = (n) => String(n).padStart(2, "0");
const clock = (d) => pad(d.getHours()) + ":" + pad(d.getMinutes()) + ":" + pad(d.getSeconds());
function moment(text) {
  if (!text) return "–";
  const d = new Date(text), now = new Date();
  const day = d.toDateString() === now.toDateString() ? "" : d.getFullYear() + "-" + pad(d.getMonth() + 1) + "-" + pad(d.getDate()) + " ";
  return day + clock(d);
}
const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
const plural = (n, one, many) => count(n) + " " + (n === 1 ? one : many);

// Changes only what differs: what is selected, focused or read aloud stays.
function put(node, text, name) {
  if (node.textContent !== text) node.textContent = text;
  if (name !== undefined && node.className !== name) node.className = name;
}
// A cell is a list of parts: [text, class, title].
function fill(parent, parts) {
  while (parent.childNodes.length > parts.length) parent.lastChild.remove();
  parts.forEach(([text, name, title], at) => {
    let node = parent.children[at];
    if (!node) node = parent.appendChild(document.createElement("span"));
    put(node, text, name || "");
    if ((title || "") !== node.title) node.title = title || "";
  });
}
function rows(body, lines) {
  while (body.rows.length > lines.length) body.deleteRow(-1);
  lines.forEach((cells, at) => {
    const row = body.rows[at] || body.insertRow();
    cells.forEach((cell, column) => {
      const node = row.cells[column] || row.insertCell();
      const isNumber = column === cells.length - 1 || cell.isNumber;
      if (isNumber && node.className !== "number") node.className = "number";
      fill(node, cell);
    });
  });
}
// A list of [term, value, note, is bad].
function terms(list, pairs) {
  while (list.children.length > pairs.length) list.lastChild.remove();
  pairs.forEach(([term, value, note, bad], at) => {
    let group = list.children[at];
    if (!group) {
      group = list.appendChild(document.createElement("div"));
      group.append(document.createElement("dt"), document.createElement("dd"));
      group.lastChild.append(document.createElement("span"), document.createElement("small"));
    }
    put(group.firstChild, term);
    put(group.lastChild.firstChild, value, bad ? "bad" : "");
    put(group.lastChild.lastChild, note || "");
  });
}

let input = "", warehouse = "";
const within = (top, path) => top && path.startsWith(top + "/") ? path.slice(top.length + 1) : path;
const below = (path) => within(input, path);
const stored = (path, style) => [visible(within(warehouse, path)), style, visible(path)];
function name(path, exact) {
  const parts = [[visible(below(path)), "name", visible(path)]];
  if (exact) parts.push(["not UTF-8; the exact bytes are in the JSON", "note"]);
  return parts;
}

function waitingRow(file) {
  const notes = [];
  if (file.error) notes.push(file.error);
  if (file.unchanged_seconds !== undefined && file.window_seconds !== undefined && file.unchanged_seconds < file.window_seconds)
    notes.push("unchanged for " + Math.floor(file.unchanged_seconds) + " of " + file.window_seconds + " s");
  if (file.retry_in_seconds !== undefined) notes.push("tried again in " + lasting(file.retry_in_seconds));
  if (file.failures) notes.push("failed " + plural(file.failures, "time", "times"));
  if (file.group) notes.push("group " + file.group);
  if (file.missing) notes.push("lacks " + file.missing.join("; "));
  const why = [[file.status, "word"], [sentence(file.summary), ""]].concat(notes.map((note) => [sentence(note), "note"]));
  return [name(file.path, file.path_base64), why, [[lasting(file.waiting_seconds)]]];
}

const LISTS = {
  failures: ["Failures", "Error", (e) => [[e.reason, "word"], [sentence(e.error)],
    [e.retry_in_seconds === null ? "not tried again until it changes" : "tried again after " + lasting(e.retry_in_seconds), "note"]]],
  quarantined: ["Quarantine", "Why, and where it is", (e) => [[e.reason, "word"],
    [sentence(e.error) + (e.line === null || e.error.includes("line") ? "" : " (line " + count(e.line) + ")")], [visible(e.target), "note"]]],
  duplicates: ["Duplicates", "Same as", (e) => [[e.action, "word"],
    e.original === null ? ["a file that another host brought"] : stored(e.original, "name")]],
  ingested: ["Ingested", "Size, and where it is", (e) => [[bytes(e.bytes)], stored(e.warehouse_path, "note")]],
};
for (const kind in LISTS) {
  const [title, what] = LISTS[kind];
  const section = document.createElement("section");
  section.setAttribute("aria-labelledby", kind + "-title");
  const heading = document.createElement("h2"), tally = document.createElement("span");
  heading.id = kind + "-title";
  tally.className = "count";
  heading.append(title + " ", tally);
  const table = document.createElement("table"), head = table.createTHead().insertRow();
  [["File", ""], [what, ""], ["At", "number"]].forEach(([text, style]) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = style;
    cell.textContent = text;
    head.append(cell);
  });
  const none = document.createElement("p"), more = document.createElement("button");
  none.className = "none";
  more.type = "button";
  more.setAttribute("aria-expanded", "false");
  more.addEventListener("click", () => {
    more.setAttribute("aria-expanded", String(more.getAttribute("aria-expanded") === "false"));
    showLists();
  });
  section.append(heading, none, table, more);
  $(kind === "failures" || kind === "duplicates" ? "left" : "right").append(section);
  LISTS[kind].parts = { tally, table, none, more, body: table.createTBody(), title: title.toLowerCase() };
}

let recent = null, shownStatus = null;
const wanted = () => $("name").value.trim();
const lower = (text) => text.replace(/[A-Z]/g, (c) => c.toLowerCase());

function showLists() {
  if (!recent) return;
  const filter = lower(wanted());
  for (const kind in LISTS) {
    const { tally, table, none, more, body, title } = LISTS[kind].parts;
    const events = recent[kind].filter((e) => lower(below(e.path)).includes(filter));
    const isLong = more.getAttribute("aria-expanded") === "true";
    const few = isLong ? events : events.slice(0, SHORT_ROWS);
    rows(body, few.map((e) => [name(e.path, e.path_base64), LISTS[kind][2](e), [[moment(e.at), "", e.at]]]));
    put(tally, recent[kind].length ? "the last " + count(recent[kind].length) : "");
    table.hidden = !events.length;
    none.hidden = events.length > 0;
    put(none, recent[kind].length ? "None of them matches." : "None since the start.");
    more.hidden = events.length <= SHORT_ROWS;
    put(more, isLong ? "Show " + SHORT_ROWS : "Show all " + events.length + " " + title);
  }
}

function doing(s) {
  if (s.stalled) return ["Stalled: " + s.stalled, true];
  if (s.not_ready) return [s.not_ready[0].toUpperCase() + s.not_ready.slice(1) + ".", s.state !== "recovering"];
  const t = s.stages, parts = [];
  if (t.hashing) parts.push("hashing " + plural(t.hashing, "file", "files"));
  if (t.committing) parts.push("committing " + plural(t.committing, "file", "files"));
  if (t.ready) parts.push(plural(t.ready, "complete file waits", "complete files wait") + " for their turn");
  if (t.waiting) parts.push(plural(t.waiting, "file is", "files are") + " not complete yet");
  if (t.held) parts.push(plural(t.held, "file is", "files are") + " held back");
  return ["Running: " + (parts.length ? parts.join(", ") : "nothing waits") + ".", false];
}

const samples = [];
function rate(s) {
  const now = Date.parse(s.now);
  if (samples.length && (samples[0].started !== s.started_at || now < samples[samples.length - 1].now)) samples.length = 0;
  samples.push({ now, files: s.files, bytes: s.bytes, started: s.started_at });
  while (samples.length > 2 && now - samples[1].now >= 60000) samples.shift();
  const first = samples[0], took = (now - first.now) / 1000;
  if (took < 1) return null;
  return { files: (s.files - first.files) / took, bytes: (s.bytes - first.bytes) / took, took };
}

function chart(kind, minutes, told) {
  const svg = $(kind + "-chart"), most = Math.max(1, ...minutes.map((m) => m[kind]));
  while (svg.childNodes.length > minutes.length) svg.lastChild.remove();
  minutes.forEach((minute, at) => {
    const bar = svg.children[at] || svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
    const height = minute[kind] ? Math.max(1.5, 70 * minute[kind] / most) : 0;
    const set = { x: 10 * (61 - minutes.length + at) + 1, width: 8, y: 72 - height, height };
    for (const key in set) if (bar.getAttribute(key) !== String(set[key])) bar.setAttribute(key, set[key]);
  });
  const all = minutes.reduce((a, m) => a + m[kind], 0), max = Math.max(0, ...minutes.map((m) => m[kind]));
  const note = all ? told(all) + " in all, at most " + told(max) : "none";
  put($(kind + "-note"), "(" + note + ")");
  const label = (kind === "files" ? "Files" : "Bytes") + " ingested in each minute of the last hour: " + note + ". A table follows.";
  if (svg.getAttribute("aria-label") !== label) svg.setAttribute("aria-label", label);
}

function showStatus(s) {
  shownStatus = s;
  [input, warehouse] = [s.input, s.warehouse];
  put($("host"), s.host ? "on " + visible(s.host) : "");
  put($("about"), "Version " + s.version + ", since " + moment(s.started_at) + " (" + lasting(s.uptime_seconds) + "), process " + s.pid + ", " + visible(s.input) + " to " + visible(s.warehouse));
  const [text, bad] = doing(s), r = rate(s);
  put($("state"), text, bad ? "bad" : "");
  const failures = sum(s.failures), quarantined = sum(s.quarantined), duplicates = sum(s.duplicates), t = s.stages;
  const oldest = s.oldest_waiting_seconds;
  terms($("figures"), [
    ["Not complete", count(t.waiting), oldest === null ? "" : "oldest file: " + lasting(oldest)],
    ["Held", count(t.held), t.held ? "refused, tried again" : ""],
    ["Ready", count(t.ready), ""],
    ["In work", count(t.hashing + t.committing), ""],
    ["Rate now", r ? (r.files < 10 ? r.files.toFixed(1) : count(Math.round(r.files))) + " files/s" : "–", r ? bytes(Math.round(r.bytes)) + "/s, over " + lasting(r.took) : ""],
    ["Ingested", count(s.files), bytes(s.bytes)],
    ["Duplicates", count(duplicates), ""],
    ["Failures", count(failures), "", failures > 0],
    ["Quarantined", count(quarantined), "", quarantined > 0],
  ]);
  chart("files", s.minutes, (n) => plural(n, "file", "files"));
  chart("bytes", s.minutes, bytes);
  rows($("hour").tBodies[0], s.minutes.slice().reverse().map((m) => {
    const files = [[count(m.files)]];
    files.isNumber = true;
    return [[[moment(m.at)]], files, [[bytes(m.bytes)]]];
  }));
  const consumers = s.consumers || [];
  $("consumers").hidden = !consumers.length;
  rows($("consumers").querySelector("tbody"), consumers.map((c) => [[[visible(c.name), "name"]], [[sentence(c.state || "")]],
    [[c.lag_lines === null ? "" : plural(c.lag_lines, "line", "lines")], [c.lag_seconds === null ? "" : lasting(c.lag_seconds), "note"]]]));
  const j = s.journal, disks = s.disks.map((d) => ["Free for " + d.places.join(", ").replaceAll("_", "-"), bytes(d.free_bytes), "", s.disk_full]);
  const snapshots = j.snapshots.failed ? plural(j.snapshots.failed, "compaction", "compactions") + " failed" : "";
  terms($("disk"), disks.concat([
    ["Journal", bytes(j.bytes), j.unfolded_bytes ? bytes(j.unfolded_bytes) + " not folded yet" : ""],
    ["Contents remembered", count(j.remembered_files), ""],
    ["Newest snapshot", j.last_snapshot_at ? moment(j.last_snapshot_at) : "none since the start", snapshots, j.snapshots.failed > 0],
    ["Last scan ended", moment(s.last_scan_at), s.last_scan_seconds === null ? "" : "took " + s.last_scan_seconds + " s"],
    ["Last file ingested", moment(s.last_ingest_at), ""],
    ["Names ignored", count(sum(s.ignored)), ""],
    ["Log lines dropped", count(s.log_lines_dropped), "", s.log_lines_dropped > 0],
  ]));
}

// The pages before this one, by their cursors.
let pages = [], after = null, following = null, waiting = null, generation = 0;

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store", credentials: "omit" });
  const answer = await response.json();
  if (!response.ok && response.status !== 503) throw new Error(answer.error);
  return answer;
}

// A search through very many names answers in parts.
async function getWaiting() {
  const mine = generation, filter = wanted();
  let files = [], next = after, known = 0;
  for (let step = 0; step < SEARCH_STEPS_MAX && mine === generation; step++) {
    let query = "limit=" + (PAGE_ROWS - files.length);
    if (next) query += "&after=" + next;
    if (filter) query += "&name=" + encodeURIComponent(filter);
    const answer = await get("api/v1/waiting?" + query);
    if (answer.error) return { error: answer.error };
    files = files.concat(answer.files);
    ({ next, known } = answer);
    if (!next || files.length >= PAGE_ROWS) break;
  }
  return mine === generation ? { files, next, known, filter } : null;
}

function showWaiting() {
  if (!waiting) return;
  const none = $("waiting-none");
  if (waiting.error) {
    none.hidden = false;
    put(none, sentence(waiting.error[0].toUpperCase() + waiting.error.slice(1) + "."));
    return;
  }
  const { files, next, known, filter } = waiting, from = pages.length * PAGE_ROWS;
  rows($("waiting-table").tBodies[0], files.map(waitingRow));
  $("waiting-table").hidden = !files.length;
  none.hidden = files.length > 0;
  put(none, filter ? "No name matches." : pages.length ? "Nothing more." : "Nothing waits.");
  put($("waiting-count"), known ? plural(known, "file", "files") + ", oldest first" : "");
  following = next;
  for (const [id, can] of [["first", pages.length], ["previous", pages.length], ["next", next]]) $(id).setAttribute("aria-disabled", String(!can));
  $("first").parentNode.hidden = !pages.length && !next;
  put($("range"), files.length ? count(from + 1) + " to " + count(from + files.length) + (filter ? " of those that match" : " of " + count(known)) : "");
}

let silentSince = null, lastAnswer = null, timer = 0, running = false;
async function refresh() {
  clearTimeout(timer);
  if (running || document.hidden) return;
  running = true;
  const begun = generation;
  try {
    const [status, events, files] = await Promise.all([get("api/v1/status"), get("api/v1/recent"), getWaiting()]);
    showStatus(status);
    recent = events;
    showLists();
    if (files) waiting = files;
    showWaiting();
    [silentSince, lastAnswer] = [null, new Date()];
    put($("alert"), "");
    document.body.removeAttribute("data-silent");
  } catch (error) {
    silentSince = silentSince || new Date();
    document.body.setAttribute("data-silent", "");
    const old = lastAnswer ? " What is shown is from " + clock(lastAnswer) + "." : "";
    put($("alert"), "The ingestor has not answered since " + clock(silentSince) + ": it has ended, or cannot be reached." + old);
    put($("state"), "Not known: the ingestor does not answer.", "bad");
  }
  running = false;
  timer = setTimeout(refresh, begun === generation ? REFRESH_MS : 0);
}

// The user has asked for other files: at once, and said aloud.
async function turn(change) {
  change();
  generation++;
  const mine = generation;
  try {
    const files = await getWaiting();
    if (!files || mine !== generation) return;
    waiting = files;
    showWaiting();
    put($("spoken"), files.error ? "" : $("range").textContent || $("waiting-none").textContent);
  } catch (error) {
    refresh();
  }
}
function button(id, act) {
  $(id).addEventListener("click", () => {
    if ($(id).getAttribute("aria-disabled") !== "true") turn(act);
  });
}
button("first", () => { pages = []; after = null; });
button("previous", () => { after = pages.pop() || null; });
button("next", () => { pages.push(after); after = following; });
let typing = 0;
$("name").addEventListener("input", () => {
  showLists();
  clearTimeout(typing);
  typing = setTimeout(() => turn(() => { pages = []; after = null; }), 250);
});
$("search").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : refresh());
refresh();
