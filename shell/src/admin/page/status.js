// Asks this address for its status every two seconds and shows it. No text from it becomes markup.
"use strict";

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;
const ROWS = 100; // rows of rings that are in the page at first

const at = (id) => document.getElementById(id);
let order = { column: "worst", down: true };
let shown = ROWS;
let status = null;
let history = null;
let heard = 0; // when the last answer came
let trouble = ""; // why there is none

// --- Numbers for people ------------------------------------------------------------------------

function short(number) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (number >= size) return (number / size).toFixed(number < 10 * size ? 1 : 0) + " " + unit;
  }
  return number >= 10 || Number.isInteger(number) ? String(Math.round(number)) : number.toFixed(1);
}

function bytes(number) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (number >= size) return (number / size).toFixed(number < 10 * size ? 1 : 0) + " " + unit;
  }
  return Math.round(number) + " B";
}

function time(seconds) {
  if (seconds < 1) return Math.round(seconds * 1000) + " ms";
  if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h";
  return Math.floor(seconds / 86400) + " d";
}

// --- Elements ----------------------------------------------------------------------------------

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Writes only what differs, so that a thousand rows cost nothing while nothing happens.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name) {
  if (element.className !== name) element.className = name;
}

const SVG = "http://www.w3.org/2000/svg";

// A plot of a series from 0 to its largest value, the present at the right edge.
function plot(label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 300 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const area = document.createElementNS(SVG, "path");
  area.setAttribute("class", "area");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", "line");
  svg.append(area, line);
  return {
    svg,
    draw(values, say, least = 0) {
      const top = Math.max(least, ...values) || 1;
      const points = values.map((value, index) => {
        const x = 300 - (values.length - 1 - index);
        return x + " " + (100 - (96 * value) / top).toFixed(1);
      });
      const path = points.length ? "M" + points.join("L") : "";
      line.setAttribute("d", path);
      area.setAttribute("d", path && `${path}L300 100L${301 - values.length} 100Z`);
      const last = values.length ? values[values.length - 1] : 0;
      const most = values.length ? Math.max(...values) : 0;
      svg.setAttribute("aria-label", `${label}: now ${say(last)}, at most ${say(most)}`);
      return [last, most];
    },
  };
}

// A plot with its title, the present value and the largest one.
function figure(parent, title, say) {
  const drawn = plot(title);
  const now = make("b");
  const most = make("small");
  parent.append(make("figure", {}, make("figcaption", {}, title, now), drawn.svg, most));
  return (values, least) => {
    const [last, largest] = drawn.draw(values, say, least);
    write(now, say(last));
    write(most, `at most ${say(largest)}`);
  };
}

// A table that keeps its rows by key. `columns`: [key, title, isText, show(item, cell)].
function table(id, columns, sorted) {
  const element = at(id);
  const head = make("tr");
  for (const [key, title, isText] of columns) {
    const cell = make("th", { scope: "col", ...(isText ? { class: "text" } : {}) });
    if (sorted) {
      const button = make("button", { type: "button" }, title);
      button.addEventListener("click", () => {
        order = { column: key, down: order.column === key ? !order.down : !isText };
        show();
      });
      cell.append(button);
    } else {
      cell.append(title);
    }
    head.append(cell);
  }
  element.tHead.append(head);
  const rows = new Map();
  const body = element.tBodies[0];
  return (items, keyOf, chosen) => {
    if (sorted) {
      columns.forEach(([key], index) => {
        const is = order.column === key ? (order.down ? "descending" : "ascending") : "none";
        head.cells[index].setAttribute("aria-sort", is);
      });
    }
    const gone = new Set(rows.keys());
    items.forEach((item, index) => {
      const key = keyOf(item);
      gone.delete(key);
      let row = rows.get(key);
      if (!row) {
        row = make("tr");
        for (const [, , isText] of columns) row.append(make("td", isText ? { class: "text" } : {}));
        rows.set(key, row);
      }
      mark(row, key === chosen ? "chosen" : "");
      columns.forEach(([, , , fill], column) => fill(item, row.cells[column]));
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    });
    for (const key of gone) {
      rows.get(key).remove();
      rows.delete(key);
    }
  };
}

// --- What is shown -----------------------------------------------------------------------------

const BAD = new Set([
  "ring_full", "journal_refuses", "journal_waits", "journal_damaged", "reader_stuck",
  "reader_evicted", "forwarder_unreachable", "forwarder_behind", "connections_refused",
  "admin_connections_refused", "ring_damaged", "certificate_ends", "shutting_down",
]);
const STATE_CLASS = { stuck: "bad", absent: "warn", slow: "warn", full: "bad", closed: "warn" };

const plots = at("plots");
const drawRecords = figure(plots, "Records a second", short);
const drawRefused = figure(plots, "Refused a second", short);
const drawLag = figure(plots, "Oldest unread record", time);
const ringPlots = at("ring-plots");
const drawRingRecords = figure(ringPlots, "Records a second", short);
const drawRingBytes = figure(ringPlots, "Payload a second", bytes);
const drawRingUsed = figure(ringPlots, "Bytes in use", bytes);

function text(value) {
  return (item, cell) => write(cell, value(item));
}

const RINGS = [
  ["name", "Ring", true, (ring, cell) => {
    if (!cell.firstChild) {
      const button = make("button", { type: "button" });
      button.addEventListener("click", () => choose(button.textContent));
      cell.append(button);
    }
    write(cell.firstChild, ring.name);
  }],
  ["state", "State", true, (ring, cell) => {
    const state = ring.journal_trouble ? "journal" : ring.state;
    write(cell, state);
    mark(cell, "text " + (state === "journal" ? "bad" : STATE_CLASS[state] || ""));
  }],
  ["records", "Records/s", false, text((ring) => short(ring.records_per_second))],
  ["bytes", "Payload/s", false, text((ring) => bytes(ring.bytes_per_second))],
  ["refused", "Refused/s", false, (ring, cell) => {
    write(cell, short(ring.refused_per_second));
    mark(cell, ring.refused_per_second > 0 ? "warn" : "");
  }],
  ["used", "In use", false, text((ring) => percent(ring))],
  ["readers", "Readers", false, text((ring) => `${ring.attached} of ${ring.readers}`)],
  ["worst", "Furthest behind", true, (ring, cell) => {
    const worst = ring.worst;
    const behind = worst && worst.lag_bytes > 0;
    write(cell, behind ? `${worst.name}: ${time(worst.lag_seconds)}, ${worst.state}` : "none");
    mark(cell, "text " + ((behind && STATE_CLASS[worst.state]) || ""));
  }],
];
const KEYS = {
  name: (ring) => ring.name,
  state: (ring) => (ring.journal_trouble ? "journal" : ring.state),
  records: (ring) => ring.records_per_second,
  bytes: (ring) => ring.bytes_per_second,
  refused: (ring) => ring.refused_per_second,
  used: (ring) => ring.used_bytes / ring.capacity_bytes,
  readers: (ring) => ring.readers,
  worst: (ring) => (ring.worst ? ring.worst.lag_seconds : 0),
};
const fillRings = table("rings", RINGS, true);

const fillReaders = table("readers", [
  ["name", "Reader", true, text((reader) => reader.name)],
  ["state", "State", true, (reader, cell) => {
    write(cell, reader.state);
    mark(cell, "text " + (STATE_CLASS[reader.state] || ""));
  }],
  ["records", "Records behind", false, text((reader) => short(reader.lag_records))],
  ["seconds", "Oldest", false, text((reader) => time(reader.lag_seconds))],
  ["lag", "Bytes behind, ten minutes", false, (reader, cell) => {
    if (!cell.drawn) {
      cell.drawn = plot(`bytes behind of ${reader.name}`);
      cell.append(cell.drawn.svg);
    }
    cell.drawn.draw(reader.lag_bytes || [], bytes);
  }],
]);

const fillJournals = table("journals", [
  ["ring", "Ring", true, text((journal) => journal.ring)],
  ["durability", "Durability", true, text((journal) => journal.durability)],
  ["state", "State", true, (journal, cell) => {
    const waits = `waits ${time(journal.waiting_seconds)} for the disk`;
    write(cell, journal.state === "waits" ? waits : journal.state);
    mark(cell, "text " + (journal.state === "good" ? "good" : "bad"));
  }],
  ["written", "Written/s", false, text((journal) => bytes(journal.written_bytes_per_second))],
  ["commit", "Batch safe in", false, text((journal) =>
    (journal.commit_seconds === null ? "none" : span(journal.commit_seconds)))],
  ["size", "Size", false, text((journal) => bytes(journal.size_bytes))],
  ["segments", "Segments", false, text((journal) => short(journal.segments))],
  ["room", "Room on the disk", false, text((journal) => bytes(journal.room_bytes))],
  ["cursors", "Places not saved", false, (journal, cell) => {
    write(cell, short(journal.cursor_failures));
    mark(cell, journal.cursor_failures > 0 ? "warn" : "");
  }],
  ["missing", "Records missing", false, (journal, cell) => {
    const isDamaged = journal.damaged_places > 0;
    const count = journal.missing_records > 0 ? short(journal.missing_records) : "some";
    write(cell, isDamaged ? count : "none");
    mark(cell, isDamaged ? "bad" : "");
  }],
]);

const fillForwarders = table("forwarders", [
  ["address", "Forwarder", true, text((forwarder) => forwarder.address)],
  ["sink", "To", true, text((forwarder) => forwarder.sink || "")],
  ["from", "From", true, text((it) => (it.ring ? `${it.ring}/${it.subscription}` : ""))],
  ["state", "State", true, (forwarder, cell) => {
    const asked = forwarder.error || forwarder.sink;
    const why = forwarder.error || forwarder.detail || "not ready";
    write(cell, !asked ? "asking" : forwarder.ready ? "ready" : why);
    mark(cell, "text " + (forwarder.ready ? "good" : asked ? "bad" : ""));
  }],
  ["rate", "Delivered/s", false, text((forwarder) => short(forwarder.delivered_per_second))],
  ["lag", "Records behind", false, text((forwarder) => short(forwarder.lag_records || 0))],
  ["flight", "In flight", false, text((forwarder) => short(forwarder.in_flight_records || 0))],
  ["retries", "Retries", false, text((forwarder) => short(forwarder.retries || 0))],
  ["dead", "Dead letters", false, text((it) => short(it.dead_lettered_records || 0))],
  ["age", "Last acknowledgement", false, text((forwarder) => {
    const age = forwarder.acknowledgement_age_seconds;
    return age === null || age === undefined ? "none" : time(age) + " ago";
  })],
]);

const fillAddresses = table("addresses", [
  ["protocol", "Protocol", true, text((it) => it.protocol)],
  ["address", "Address", true, text((it) => it.address)],
  ["open", "Connections", false, text((it) => short(it.connections))],
  ["rate", "Records/s", false, text((it) => short(it.records_per_second))],
  ["refused", "Refused/s", false, text((it) => short(it.refused_per_second))],
]);

function percent(ring) {
  const share = (100 * ring.used_bytes) / ring.capacity_bytes;
  return `${share.toFixed(share < 10 ? 1 : 0)} % of ${bytes(ring.capacity_bytes)}`;
}

/** A time that may be microseconds. */
function span(seconds) {
  if (seconds >= 0.1) return time(seconds);
  return seconds >= 1e-3 ? `${(1e3 * seconds).toFixed(1)} ms` : `${(1e6 * seconds).toFixed(0)} \u00b5s`;
}

/** The ring that the address names; none if what it says is no name. */
function chosen() {
  try {
    return decodeURIComponent(location.hash.replace(/^#ring=?/, ""));
  } catch {
    return "";
  }
}

function choose(name) {
  history = null;
  location.hash = name ? "ring=" + encodeURIComponent(name) : "";
}

function sentence(finding) {
  const where = [finding.ring, finding.reader].filter(Boolean).join("/") || finding.forwarder || "";
  return [finding.kind.replaceAll("_", " "), where ? where + ": " + finding.text : finding.text];
}

function showFindings() {
  const lines = status.findings.map((finding) => {
    const [kind, said] = sentence(finding);
    return [`finding ${BAD.has(finding.kind) ? "bad" : ""}`, kind, said];
  });
  if (status.findings_left_out) lines.push(["finding", "more", `${status.findings_left_out} others`]);
  if (!lines.length) lines.push(["finding good", "none", "nothing is wrong"]);
  const list = at("findings");
  while (list.children.length > lines.length) list.lastChild.remove();
  lines.forEach(([name, kind, said], index) => {
    let item = list.children[index];
    if (!item) {
      item = make("li", {}, make("b"), " ", make("span"));
      list.append(item);
    }
    mark(item, name);
    write(item.firstChild, kind);
    write(item.lastChild, said);
  });
}

function showRings() {
  const wanted = at("filter").value.trim().toLowerCase();
  const rings = status.rings.filter((ring) => ring.name.toLowerCase().includes(wanted));
  const key = KEYS[order.column];
  const sign = order.down ? -1 : 1;
  rings.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x < y ? -sign : x > y ? sign : a.name < b.name ? -1 : 1;
  });
  write(at("counted"), rings.length === status.rings.length
    ? `${rings.length}` : `${rings.length} of ${status.rings.length}`);
  fillRings(rings.slice(0, shown), (ring) => ring.name, chosen());
  at("more-line").hidden = rings.length <= shown;
}

function showRing() {
  const name = chosen();
  at("ring").hidden = !name;
  if (!name) return;
  write(at("ring-title"), `Ring ${name}`);
  if (!history || history.name !== name) return;
  drawRingRecords(history.records_per_second);
  drawRingBytes(history.bytes_per_second);
  drawRingUsed(history.used_bytes, history.capacity_bytes);
  fillReaders(history.readers, (reader) => reader.name);
}

function showFresh() {
  const age = (Date.now() - heard) / 1000;
  const lost = trouble && heard;
  write(at("fresh"), !heard ? trouble : lost ? `${trouble}; as of ${time(age)} ago` : "live");
  if (trouble) {
    write(at("state"), "no answer");
    mark(at("state"), "pill bad");
  }
}

function show() {
  if (!status) return showFresh();
  write(at("state"), status.ready ? "ready" : "not ready");
  mark(at("state"), "pill " + (status.ready ? "good" : "bad"));
  const reasons = status.ready ? "" : ": " + status.not_ready.slice(0, 3).join("; ");
  write(at("about"), `${status.version}, up ${time(status.uptime_seconds)}${reasons}`);
  document.title = (status.findings.length ? `(${status.findings.length}) ` : "") + "aqueduct";
  showFindings();
  drawRecords(status.history.records_per_second);
  drawRefused(status.history.refused_per_second);
  drawLag(status.history.worst_lag_seconds);
  showRings();
  showRing();
  at("journals-section").hidden = !status.journals.length;
  fillJournals(status.journals, (journal) => journal.ring);
  at("forwarders-section").hidden = !status.forwarders.length;
  fillForwarders(status.forwarders, (forwarder) => forwarder.address);
  fillAddresses(status.addresses, (it) => it.protocol + it.address);
  const { open, limit, refused } = status.connections;
  write(at("connections"), `${open} of ${limit} connections, ${refused} refused; ` +
    `${status.control_connections} readers' connections; ` +
    `${bytes(status.buffered_bytes.used)} of incomplete messages; ` +
    `${status.log_lines_dropped} lines of the log lost`);
  showFresh();
}

// --- Asking ------------------------------------------------------------------------------------

async function ask(path) {
  const ends = new AbortController();
  const timer = setTimeout(() => ends.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(path, { signal: ends.signal, cache: "no-store" });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

async function look() {
  try {
    status = await ask("v1/status");
    const name = chosen();
    history = name ? await ask(`v1/rings/${encodeURIComponent(name)}/history`) : null;
    heard = Date.now();
    trouble = "";
  } catch (error) {
    trouble = error.name === "AbortError" ? "no answer" : "not reached";
  }
  show();
}

let timer = 0;
async function again() {
  clearTimeout(timer);
  await look();
  // A page that nobody sees asks less often.
  timer = setTimeout(again, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

at("filter").addEventListener("input", () => {
  shown = ROWS;
  if (status) showRings();
});
at("more").addEventListener("click", () => {
  shown *= 4;
  showRings();
});
at("close").addEventListener("click", () => choose(""));
addEventListener("hashchange", async () => {
  await again();
  if (chosen()) at("ring-title").focus();
});
document.addEventListener("visibilitychange", () => document.hidden || again());
again();
