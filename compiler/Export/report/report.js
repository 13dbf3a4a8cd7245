"use strict";
// Draws one plan from the data in the page. Times are nanoseconds, sizes bytes.

addEventListener("error", event => {
  document.documentElement.dataset.error = event.message;
});

const data = JSON.parse(document.getElementById("data").textContent);

// Okabe and Ito's palette, told apart with every kind of colour vision.
const kColors = {
  forward: "#0072b2", backward: "#009e73", backward_input: "#3a9bd0",
  weight_grad: "#c98700", reduce_gradients: "#cc79a7", update: "#8a8f96",
  expert_communication: "#d55e00",
  copy_out: "#7b4fa3", copy_in: "#b08fd0",
  pipeline_communication: "#c9ae00",
  local_copy: "#8a7400",
};
const kClassColors = {
  parameters: "#5b6570", gradients: "#8792a0", optimizer: "#b4bcc6",
  saved: "#0072b2", transient: "#009e73", receive: "#f0e442",
  send: "#e69f00", expert_communication: "#d55e00", handles: "#cc79a7",
  workspace: "#56b4e9", host: "#7b4fa3",
};
const words = name => name.replaceAll("_", " ");
const element = id => document.getElementById(id);

function formatNs(ns) {
  const scale = Math.abs(ns);
  if (scale >= 1e9) return (ns / 1e9).toFixed(3) + " s";
  if (scale >= 1e6) return (ns / 1e6).toFixed(2) + " ms";
  if (scale >= 1e3) return (ns / 1e3).toFixed(1) + " us";
  return Math.round(ns) + " ns";
}
function formatBytes(bytes) {
  for (const [size, name, digits] of [[2 ** 40, "TiB", 2], [2 ** 30, "GiB", 2],
                                      [2 ** 20, "MiB", 1], [2 ** 10, "KiB", 1]])
    if (Math.abs(bytes) >= size) return (bytes / size).toFixed(digits) + " " + name;
  return bytes + " B";
}
const percent = share => (100 * share).toFixed(1) + " %";

// Rows arrive as columns, begins as differences.
function unpack(rank) {
  const runs = rank.runs;
  let begin = 0;
  rank.begin = runs.begin.map(gap => (begin += gap));
  rank.end = rank.begin.map((start, i) => start + runs.ns[i]);
  const live = new Array(data.classes.length).fill(0);
  const apply = changes => {
    for (let i = 0; i < changes.length; i += 2) live[changes[i]] += changes[i + 1];
    return live.slice();
  };
  rank.live = runs.live.map(apply);
  begin = 0;
  rank.arrivals = { begin: rank.messages.begin.map(gap => (begin += gap)) };
  rank.arrivals.end = rank.arrivals.begin.map((start, i) => start + rank.messages.ns[i]);
}
data.ranks.forEach(unpack);
const hostClass = data.classes.indexOf("host");
const usesHost = data.ranks.some(rank => rank.host_bytes > 0);

// --- What is shown ----------------------------------------------------------

const view = { from: 0, to: Math.max(1, data.step_ns), rank: 0, critical: false };
(function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (key, low, high, fallback) => {
    const value = Number(asked.get(key) ?? NaN);
    return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
  };
  view.rank = Math.round(number("rank", 0, data.ranks.length - 1, 0));
  view.from = number("from", 0, view.to - 1, 0);
  view.to = number("to", view.from + 1, view.to, view.to);
  view.critical = asked.get("critical") === "1";
})();

// The first element of a rising list that lies beyond `value`.
function firstBeyond(list, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

// --- Pipeline ---------------------------------------------------------------

const kRow = 22, kGap = 4, kAxis = 26, kLabel = 112, kLane = 18;
const kOpsFrom = 40; // pixels of a run from which on its ops are drawn
const kCopyArrow = "#c2185b";
const canvas = element("pipeline"), memory = element("memory");
const lanes = data.lanes;
// Lanes with something on them in any rank, in the order of their rows.
const shown = lanes.map((name, lane) => lane).filter(lane => data.lanes_used[lane]);

function prepare(target, height) {
  const ratio = devicePixelRatio || 1;
  const width = target.clientWidth;
  target.style.height = height + "px";
  target.width = Math.round(width * ratio);
  target.height = Math.round(height * ratio);
  const context = target.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  return [context, width];
}
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name);
const laneBlock = shown.length * kLane + kGap;
function topOf(rank) {
  return kAxis + rank * (kRow + kGap) + (rank > view.rank ? laneBlock : 0);
}
const kBottom = 8;
const pipelineHeight = () => topOf(data.ranks.length) + (view.rank < data.ranks.length ? 0 : laneBlock) + kBottom;
const xOf = (ns, width) => kLabel + (ns - view.from) / (view.to - view.from) * (width - kLabel - 8);
const nsOf = (x, width) => view.from + (x - kLabel) / (width - kLabel - 8) * (view.to - view.from);

function drawAxis(context, width, bottom) {
  const steps = (width - kLabel) / 110;
  let unit = 10 ** Math.floor(Math.log10((view.to - view.from) / steps));
  for (const factor of [1, 2, 5, 10])
    if ((view.to - view.from) / (unit * factor) <= steps) { unit *= factor; break; }
  context.fillStyle = style("--soft");
  context.strokeStyle = style("--line");
  context.textAlign = "center";
  for (let at = Math.ceil(view.from / unit) * unit; at <= view.to; at += unit) {
    const x = Math.round(xOf(at, width)) + 0.5;
    context.beginPath();
    context.moveTo(x, kAxis - 6);
    context.lineTo(x, bottom);
    context.stroke();
    if (x < width - 30) context.fillText(formatNs(at), x, 11);
  }
  context.textAlign = "left";
}

function drawBox(context, x, y, w, h, color, label) {
  context.fillStyle = color;
  context.fillRect(x, y, Math.max(w, 0.6), h);
  if (label && w > 2 + 7 * label.length) {
    context.fillStyle = "#ffffff";
    context.textAlign = "center";
    context.fillText(label, x + w / 2, y + h / 2 + 1);
    context.textAlign = "left";
  }
}

// Of a run: what it is and whose.
function execution(rank, i) { return data.executions[rank.runs.execution[i]]; }
function labelOf(rank, i) {
  const second = rank.runs.second[i];
  return second < 0 ? String(rank.runs.microbatch[i]) : rank.runs.microbatch[i] + "|" + second;
}

function drawRun(context, rank, i, top, width) {
  const x = xOf(rank.begin[i], width), w = xOf(rank.end[i], width) - x;
  const inner = w > 3 ? w - 1 : w;
  const run = execution(rank, i);
  if (run.kind !== "overlap")
    return drawBox(context, x, top, inner, kRow, kColors[run.kind], run.stage < 0 ? "" : labelOf(rank, i));
  drawBox(context, x, top, inner, kRow / 2, kColors[run.parts[0].phase], "");
  drawBox(context, x, top + kRow / 2, inner, kRow / 2, kColors[run.parts[1].phase], "");
  if (w > 40) {
    context.fillStyle = "#ffffff";
    context.textAlign = "center";
    context.fillText(labelOf(rank, i), x + w / 2, top + kRow / 2 + 1);
    context.textAlign = "left";
  }
}

// Calls back for every visible interval; those within a pixel are drawn once.
function eachVisible(begins, ends, width, draw) {
  let last = -Infinity;
  for (let i = Math.max(0, firstBeyond(begins, view.from) - 1);
       i < begins.length && begins[i] < view.to; ++i) {
    if (ends[i] <= view.from) continue;
    const right = xOf(ends[i], width);
    if (right - last < 0.5) continue;
    last = right;
    draw(i);
  }
}

// Copies between device and host of a rank: one entry for each copy back, with
// the copy out of the same value and microbatch.
const outLane = lanes.indexOf("copy_out"), inLane = lanes.indexOf("copy_in");
function copiesOf(rank) {
  if (rank.copies) return rank.copies;
  rank.copies = [];
  const left = new Map();
  rank.begin.forEach((begin, i) => {
    const run = execution(rank, i), ops = run.ops;
    for (let o = 0; o < ops.begin.length; ++o) {
      if (ops.lane[o] !== outLane && ops.lane[o] !== inLane) continue;
      const part = run.parts[ops.part[o]];
      const { host } = data.programs[part.program].ops[ops.op[o]];
      const microbatch = [rank.runs.microbatch[i], rank.runs.second[i]][ops.part[o]];
      const key = part.stage + "." + host + "." + microbatch;
      const end = { run: i, op: o, begin: begin + ops.begin[o], end: begin + ops.begin[o] + ops.ns[o] };
      if (ops.lane[o] === outLane) left.set(key, end);
      else if (left.has(key)) rank.copies.push({ out: left.get(key), back: end });
    }
  });
  return rank.copies;
}

// An arrow from each copy out to its copies back, where the ops of either are
// drawn.
function drawCopies(context, rank, rowOf, width) {
  const shows = end => end.end > view.from && end.begin < view.to &&
    xOf(rank.end[end.run], width) - xOf(rank.begin[end.run], width) >= kOpsFrom;
  const from = rowOf(outLane) + kLane - 2, to = rowOf(inLane) + 2;
  context.strokeStyle = context.fillStyle = kCopyArrow;
  copiesOf(rank).forEach(({ out, back }, k) => {
    if (!shows(out) && !shows(back)) return;
    const level = (from + to) / 2 + (k % 5 - 2) * 4; // not all on one line
    const left = xOf(out.end, width), right = xOf(back.begin, width);
    context.beginPath();
    context.moveTo(left, from);
    context.bezierCurveTo(left, level, left, level, (left + right) / 2, level);
    context.bezierCurveTo(right, level, right, level, right, to);
    context.stroke();
    context.beginPath();
    context.moveTo(right, to + 2);
    context.lineTo(right - 4, to - 5);
    context.lineTo(right + 4, to - 5);
    context.fill();
  });
}

function drawLanes(context, rank, top, width) {
  context.save();
  const rowOf = lane => top + shown.indexOf(lane) * kLane;
  shown.forEach(lane => {
    context.fillStyle = style("--soft");
    context.fillText(words(lanes[lane]).replace(" communication", " comm."), 14, rowOf(lane) + kLane / 2);
  });
  context.beginPath();
  context.rect(kLabel, 0, width - kLabel, 1e5);
  context.clip();
  const pipelineLane = lanes.indexOf("pipeline_communication");
  const copyLane = lanes.indexOf("local_copy");
  eachVisible(rank.arrivals.begin, rank.arrivals.end, width, i => {
    const lane = rank.messages.peer[i] === rank.index ? copyLane : pipelineLane;
    const x = xOf(rank.arrivals.begin[i], width);
    drawBox(context, x, rowOf(lane) + 1, xOf(rank.arrivals.end[i], width) - x, kLane - 2, kColors[lanes[lane]], "");
  });
  eachVisible(rank.begin, rank.end, width, i => {
    const run = execution(rank, i);
    const wide = xOf(rank.end[i], width) - xOf(rank.begin[i], width);
    if (!run.ops.begin.length || wide < kOpsFrom) {
      const x = xOf(rank.begin[i], width);
      const lane = run.kind === "reduce_gradients" ? 1 : 0;
      context.globalAlpha = 0.55;
      drawBox(context, x, rowOf(lane) + 1, wide > 3 ? wide - 1 : wide, kLane - 2, kColors[run.kind], "");
      context.globalAlpha = 1;
      return;
    }
    for (let o = 0; o < run.ops.begin.length; ++o) {
      const x = xOf(rank.begin[i] + run.ops.begin[o], width);
      const w = xOf(rank.begin[i] + run.ops.begin[o] + run.ops.ns[o], width) - x;
      if (x > width || x + w < kLabel) continue;
      const lane = run.ops.lane[o], part = run.parts[run.ops.part[o]];
      const color = lane === 0 ? kColors[part.phase] : kColors[lanes[lane]];
      drawBox(context, x, rowOf(lane) + 1, w > 2.5 ? w - 0.7 : w, kLane - 2, color, data.programs[part.program].ops[run.ops.op[o]].kind);
    }
  });
  if (usesHost) drawCopies(context, rank, rowOf, width);
  context.restore();
}

function drawCritical(context, width) {
  context.strokeStyle = style("--mark");
  context.lineWidth = 2;
  for (const [rank, lane, begin, end] of data.critical) {
    if (end < view.from || begin > view.to) continue;
    const left = Math.max(xOf(begin, width), kLabel), right = xOf(end, width);
    const y = topOf(rank) + (lane < data.op_lanes ? kRow + 1 : kRow / 2);
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(Math.max(right, left + 1), y);
    context.stroke();
  }
  context.lineWidth = 1;
}

function drawPipeline() {
  const height = pipelineHeight();
  const [context, width] = prepare(canvas, height);
  drawAxis(context, width, height - kBottom);
  let drawn = 0;
  for (const rank of data.ranks) {
    const top = topOf(rank.index);
    context.fillStyle = rank.index === view.rank ? style("--text") : style("--soft");
    context.fillText("rank " + rank.index, 8, top + kRow / 2);
    context.save();
    context.beginPath();
    context.rect(kLabel, 0, width - kLabel, height);
    context.clip();
    eachVisible(rank.begin, rank.end, width, i => drawRun(context, rank, i, top, width));
    context.restore();
    if (rank.index === view.rank) drawLanes(context, rank, top + kRow + kGap, width);
    ++drawn;
  }
  if (view.critical) drawCritical(context, width);
  canvas.setAttribute("aria-label", "Timeline of " + drawn + " ranks from " +
    formatNs(view.from) + " to " + formatNs(view.to));
  return drawn;
}

// --- Memory -----------------------------------------------------------------

// Moments of a rank at which live bytes change, with bytes by class.
function* moments(rank, from, to) {
  const first = Math.max(0, firstBeyond(rank.begin, from) - 1);
  for (let i = first; i < rank.begin.length && rank.begin[i] <= to; ++i) {
    const before = rank.live[i];
    yield [rank.begin[i], before, i, -1];
    const samples = execution(rank, i).samples;
    const live = before.slice();
    for (let s = 0; s < samples.ns.length; ++s) {
      const changes = samples.live[s];
      for (let c = 0; c < changes.length; c += 2) live[changes[c]] += changes[c + 1];
      yield [rank.begin[i] + samples.ns[s], live, i, s];
    }
  }
}

function drawMemory() {
  const height = 260, bottom = height - 24, top = 12;
  const [context, width] = prepare(memory, height);
  const rank = data.ranks[view.rank];
  element("memory-rank").textContent = view.rank + " (stages " +
    rank.stages.map(s => data.stages[s].name).join(", ") + ")";
  const limit = data.machine.budget_bytes - data.machine.reserve_bytes;
  const most = Math.max(rank.peak_bytes, limit, 1) * 1.08;
  const yOf = bytes => bottom - bytes / most * (bottom - top);
  context.textAlign = "right";
  context.fillStyle = style("--soft");
  context.strokeStyle = style("--line");
  const unit = 2 ** Math.ceil(Math.log2(most / 5));
  for (let bytes = 0; bytes <= most; bytes += unit) {
    context.fillText(formatBytes(bytes), kLabel - 8, yOf(bytes));
    context.beginPath();
    context.moveTo(kLabel, Math.round(yOf(bytes)) + 0.5);
    context.lineTo(width - 8, Math.round(yOf(bytes)) + 0.5);
    context.stroke();
  }
  context.textAlign = "left";
  // One column a pixel: of the moments in it, the one with the most bytes.
  const columns = new Map();
  let last = null;
  const put = (x, live) => {
    const sum = live.reduce((a, b, c) => c === hostClass ? a : a + b, 0);
    const old = columns.get(x);
    if (!old || sum > old.sum) columns.set(x, { sum, live: live.slice() });
  };
  for (const [ns, live] of moments(rank, view.from, view.to)) {
    const x = Math.floor(xOf(Math.max(ns, view.from), width));
    if (last)
      for (let hold = last.x + 1; hold < x; ++hold) put(hold, last.live);
    if (last && x > last.x) put(x, last.live);
    put(x, live);
    last = { x, live: live.slice() };
  }
  if (last)
    for (let hold = last.x + 1; hold <= Math.floor(xOf(Math.min(view.to, data.step_ns), width)); ++hold)
      put(hold, last.live);
  for (const [x, column] of columns) {
    if (x < kLabel || x > width - 8) continue;
    let below = 0;
    column.live.forEach((bytes, c) => {
      if (bytes <= 0) return;
      context.fillStyle = kClassColors[data.classes[c]];
      // The host's bytes are no part of the device's: a line of their own.
      if (c === hostClass) return context.fillRect(x, Math.max(yOf(bytes), 2), 1.2, 2);
      context.fillRect(x, yOf(below + bytes), 1.2, yOf(below) - yOf(below + bytes));
      below += bytes;
    });
  }
  const mark = (bytes, text, color) => {
    const y = Math.round(yOf(bytes)) + 0.5;
    context.strokeStyle = context.fillStyle = color;
    context.setLineDash([6, 4]);
    context.beginPath();
    context.moveTo(kLabel, y);
    context.lineTo(width - 8, y);
    context.stroke();
    context.setLineDash([]);
    context.fillText(text, kLabel + 6, y - 8);
  };
  mark(limit, "budget less reserve: " + formatBytes(limit), style("--warn"));
  const peakX = xOf(rank.peak_ns, width);
  if (peakX >= kLabel && peakX <= width - 8) {
    const y = yOf(rank.peak_bytes);
    context.fillStyle = style("--mark");
    context.beginPath();
    context.moveTo(peakX, y - 2);
    context.lineTo(peakX - 5, y - 10);
    context.lineTo(peakX + 5, y - 10);
    context.fill();
    const text = "peak " + formatBytes(rank.peak_bytes);
    context.textAlign = peakX > width / 2 ? "right" : "left";
    context.fillText(text, peakX + (peakX > width / 2 ? -9 : 9), y - 8);
    context.textAlign = "left";
  }
  memory.setAttribute("aria-label", "Live bytes of rank " + view.rank + ", peak " + formatBytes(rank.peak_bytes));
}

// --- What the pointer is on -------------------------------------------------

const tip = element("tip");
function showTip(event, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.min(event.clientX + 14, innerWidth - box.width - 8) + "px";
  tip.style.top = Math.min(event.clientY + 14, innerHeight - box.height - 8) + "px";
}

function describeRun(rank, i) {
  const run = execution(rank, i);
  const microbatches = [rank.runs.microbatch[i], rank.runs.second[i]];
  const what = run.parts.map((part, p) => words(part.phase) + " of " +
    data.stages[part.stage].name + ", microbatch " + microbatches[p]);
  return (what.length ? what.join("\nwith ") : words(run.kind)) + "\nrank " + rank.index + ", " +
    formatNs(rank.begin[i]) + " to " + formatNs(rank.end[i]) + ": " + formatNs(rank.end[i] - rank.begin[i]);
}

function describeOp(rank, i, ns, lane) {
  const run = execution(rank, i);
  const at = ns - rank.begin[i];
  for (let o = 0; o < run.ops.begin.length; ++o) {
    if (run.ops.lane[o] !== lane || at < run.ops.begin[o] || at > run.ops.begin[o] + run.ops.ns[o]) continue;
    const part = run.parts[run.ops.part[o]];
    const op = data.programs[part.program].ops[run.ops.op[o]];
    const stage = data.stages[part.stage];
    const list = (title, values) => values.length === 0 ? "" : "\n" + title + ": " +
      values.map(v => stage.values[v][0] + " (" + formatBytes(stage.values[v][1]) + ")").join(", ");
    return op.kind + " " + op.name + "\n" + formatNs(run.ops.ns[o]) + ", " + words(lanes[lane]) +
      list("writes", op.outputs) + list("frees", op.releases) +
      (lane === outLane || lane === inLane ? describeCopy(rank, i, o) : "");
  }
  return "";
}

// Of a copy between device and host: when its other end is.
function describeCopy(rank, i, o) {
  const ends = copiesOf(rank).filter(copy => [copy.out, copy.back].some(end => end.run === i && end.op === o));
  return ends.map(({ out, back }) => out.run === i && out.op === o
    ? "\ncopied back at " + formatNs(back.begin) : "\ncopied out at " + formatNs(out.begin)).join("");
}

function describeMessage(rank, m) {
  const messages = rank.messages, stage = data.stages[messages.stage[m]];
  const [name, bytes] = stage.values[messages.value[m]];
  return stage.name + " receives " + name + ", microbatch " + messages.microbatch[m] +
    "\nfrom rank " + messages.peer[m] + ": " + formatBytes(bytes) + " in " + formatNs(messages.ns[m]);
}

function runAt(rank, ns) {
  const i = firstBeyond(rank.begin, ns) - 1;
  return i >= 0 && ns <= rank.end[i] ? i : -1;
}

canvas.addEventListener("pointermove", event => {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  if (dragFrom !== null) {
    const shift = (dragFrom.x - x) / (box.width - kLabel - 8) * (view.to - view.from);
    move(dragFrom.view - view.from + shift);
    return showTip(event, "");
  }
  const ns = nsOf(x, box.width);
  let text = "";
  for (const rank of data.ranks) {
    const top = topOf(rank.index);
    const i = runAt(rank, ns);
    if (y >= top && y < top + kRow && i >= 0) text = describeRun(rank, i);
    if (rank.index !== view.rank) continue;
    const lane = shown[Math.floor((y - top - kRow - kGap) / kLane)];
    if (lane === undefined) continue;
    if (lane < data.op_lanes && i >= 0) text = describeOp(rank, i, ns, lane) || describeRun(rank, i);
    const m = firstBeyond(rank.arrivals.begin, ns) - 1;
    if (lane >= data.op_lanes && m >= 0 && ns <= rank.arrivals.end[m])
      text = describeMessage(rank, m);
  }
  showTip(event, x >= kLabel ? text : "");
});
memory.addEventListener("pointermove", event => {
  const box = memory.getBoundingClientRect();
  const ns = nsOf(event.clientX - box.left, box.width);
  const rank = data.ranks[view.rank];
  let found = null;
  for (const moment of moments(rank, ns, ns)) {
    if (moment[0] > ns) break;
    found = [moment[0], moment[1].slice(), moment[2], moment[3]];
  }
  if (!found) return showTip(event, "");
  const rows = data.classes.map((name, c) => [words(name), found[1][c]]).filter(row => row[1] > 0);
  const total = found[1].reduce((sum, bytes, c) => c === hostClass ? sum : sum + bytes, 0);
  const op = describeOp(rank, found[2], ns, 0).split("\n")[0];
  showTip(event, formatNs(ns) + ": " + formatBytes(total) + (op ? "\n" + op : "") + "\n" +
    rows.map(row => row[0] + " " + formatBytes(row[1])).join("\n"));
});
for (const target of [canvas, memory])
  target.addEventListener("pointerleave", event => showTip(event, ""));

// --- Moving about -----------------------------------------------------------

let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    drawPipeline();
    drawMemory();
  });
}
function setRange(from, to) {
  const whole = Math.max(1, data.step_ns);
  const length = Math.min(whole, Math.max(1000, to - from));
  view.from = Math.min(Math.max(0, from), whole - length);
  view.to = view.from + length;
  redraw();
}
const move = ns => setRange(view.from + ns, view.to + ns);
function zoom(factor, at = (view.from + view.to) / 2) {
  setRange(at - (at - view.from) * factor, at + (view.to - at) * factor);
}
function choose(rank) {
  view.rank = Math.min(data.ranks.length - 1, Math.max(0, rank));
  for (const row of element("ranks").tBodies[0].rows)
    row.classList.toggle("chosen", row.rowIndex - 1 === view.rank);
  redraw();
}

let dragFrom = null;
canvas.addEventListener("pointerdown", event => {
  dragFrom = { x: event.clientX - canvas.getBoundingClientRect().left, view: view.from, y: event.clientY };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointerup", event => {
  const box = canvas.getBoundingClientRect();
  const moved = Math.abs(event.clientX - box.left - dragFrom.x) > 3;
  dragFrom = null;
  if (moved) return;
  const y = event.clientY - box.top;
  const rank = data.ranks.findIndex(each => y >= topOf(each.index) && y < topOf(each.index) + kRow);
  if (rank >= 0) choose(rank);
});
canvas.addEventListener("pointercancel", () => { dragFrom = null; });
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
    return move((event.deltaX || event.deltaY) / box.width * (view.to - view.from));
  zoom(Math.exp(event.deltaY * 0.0015), nsOf(event.clientX - box.left, box.width));
}, { passive: false });
canvas.addEventListener("keydown", event => {
  const tenth = (view.to - view.from) / 10;
  const actions = {
    "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
    "0": () => setRange(0, data.step_ns), ArrowLeft: () => move(-tenth), ArrowRight: () => move(tenth),
    ArrowUp: () => choose(view.rank - 1), ArrowDown: () => choose(view.rank + 1),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
});
element("zoom-in").onclick = () => zoom(0.5);
element("zoom-out").onclick = () => zoom(2);
element("zoom-all").onclick = () => setRange(0, data.step_ns);
element("critical").checked = view.critical;
element("critical").onchange = event => { view.critical = event.target.checked; redraw(); };
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// --- Words and tables -------------------------------------------------------

function addLegend(target, names, colors) {
  for (const name of names) {
    const entry = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.background = colors[name];
    entry.append(swatch, words(name));
    target.append(entry);
  }
}

// `columns`: [heading, cell(row), options]; words: left-aligned text.
function fillTable(table, columns, rows) {
  const head = table.createTHead().insertRow();
  for (const [heading, , options] of columns) {
    const cell = document.createElement("th");
    cell.textContent = heading;
    cell.scope = "col";
    if (options?.words) cell.className = "words";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const [, text, options] of columns) {
      const cell = line.insertCell();
      cell.textContent = text(row);
      if (options?.words) cell.className = "words";
      if (options?.bad?.(row)) cell.classList.add("bad");
    }
  }
}

function fillHeader() {
  element("title").textContent = data.model.name;
  document.title = data.model.name + " - pipeline plan";
  const layout = data.layout;
  element("subtitle").textContent = data.machine.name + ", pipeline " + layout.pipeline +
    " x expert " + layout.expert + " x data " + layout.data + ", " + layout.microbatches +
    " microbatches of " + layout.microbatch_size + " x " + layout.sequence_length +
    " tokens, schedule " + data.schedule + ", " + data.dtype;
  const fits = data.prediction.fits;
  const worst = data.ranks.reduce((a, b) => (b.margin_bytes < a.margin_bytes ? b : a));
  const figures = [
    ["step time", formatNs(data.step_ns)], ["bubble", percent(data.bubble)],
    ["model FLOP utilization", data.utilization > 0 ? percent(data.utilization) : "unknown"],
    ["most live bytes", formatBytes(Math.max(...data.ranks.map(rank => rank.peak_bytes)))],
    [fits ? "fits the budget, least margin" : "does not fit, lacks",
     formatBytes(Math.abs(worst.margin_bytes)) + " (rank " + worst.index + ")", !fits],
  ];
  for (const [name, value, bad] of figures) {
    const entry = document.createElement("div");
    if (bad) entry.className = "bad";
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    entry.append(term, text);
    element("figures").append(entry);
  }
}

function fillTables() {
  const left = { words: true };
  fillTable(element("ranks"), [
    ["rank", rank => rank.index],
    ["holds", rank => rank.stages.map(s => data.stages[s].name + ": " + data.stages[s].blocks).join("; "), left],
    ["parameters, gradients, optimizer", rank => formatBytes(rank.persistent_bytes)],
    ["peak", rank => formatBytes(rank.peak_bytes)],
    ["where", rank => rank.peak_place, left],
    ["margin", rank => formatBytes(rank.margin_bytes), { bad: rank => rank.margin_bytes < 0 }],
    ["busy", rank => formatNs(rank.busy_ns)],
    ["exposed communication", rank => formatNs(rank.exposed_ns)],
    ...(usesHost ? [
      ["exposed copies", rank => formatNs(rank.exposed_copy_ns)],
      ["on the host", rank => formatBytes(rank.host_bytes)],
    ] : []),
  ], data.ranks);
  for (const row of element("ranks").tBodies[0].rows)
    row.onclick = () => choose(row.rowIndex - 1);

  const sums = new Map();
  for (const [, lane, begin, end, what] of data.critical) {
    const key = words(lanes[lane]) + "|" + words(what);
    const sum = sums.get(key) ?? { lane: words(lanes[lane]), what: words(what), ns: 0, times: 0 };
    sum.ns += end - begin;
    ++sum.times;
    sums.set(key, sum);
  }
  fillTable(element("path"), [
    ["of", sum => sum.what, left], ["on", sum => sum.lane, left],
    ["stretches", sum => sum.times], ["time", sum => formatNs(sum.ns)],
    ["share", sum => percent(sum.ns / Math.max(1, data.step_ns))],
  ], [...sums.values()].sort((a, b) => b.ns - a.ns || a.what.localeCompare(b.what)));
  fillTable(element("decisions"), [
    ["what", row => row[0], left], ["value", row => row[1], left], ["why, or where from", row => row[2], left],
  ], data.decisions.concat(data.assumptions));
}

fillHeader();
fillTables();
addLegend(element("legend"), data.kinds, kColors);
addLegend(element("memory-legend"), data.classes.filter((_, c) => c !== hostClass || usesHost), kClassColors);
choose(view.rank);
const drawn = drawPipeline();
drawMemory();
document.documentElement.dataset.ranks = drawn;
if (usesHost)
  document.documentElement.dataset.copies = data.ranks.reduce((sum, rank) => sum + copiesOf(rank).length, 0);
document.documentElement.dataset.ready = "true";
