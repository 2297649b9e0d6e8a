// The drawing: outside and the border on top, the racks with their routers and nodes below it, the
// reflectors under them. A session is a line between two boxes.

import { SIGNS, byId, condition, s, show, since, states } from "./dom.js";

const GAP = 12;
const SPEAKER = { width: 176, height: 44 };
const WIDE = { width: 132, height: 60, dots: 9 };
const NARROW = { width: 87, height: 40, dots: 0 };
/** With more nodes than this each gets less room, and each rack the whole width. */
const WIDE_MAX = 16;
/** Sessions that are drawn while all is well; more would be a cloud. */
const LINES_MAX = 150;
/** With more than these, those between nodes are drawn faintly. */
const FAINT_FROM = 24;

/** Racks in the order of their names; nodes that say none are one group. */
export function racksOf(nodes) {
  const racks = new Map();
  for (const node of nodes) {
    if (!racks.has(node.rack)) racks.set(node.rack, []);
    racks.get(node.rack).push(node);
  }
  return racks;
}

export function drawTopology(picture) {
  const drawing = byId("drawing");
  const width = Math.max(drawing.clientWidth, 320);
  const plan = layOut(picture, width);
  const down = picture.sessions.filter((session) => !session.up).length;
  const title = `${picture.nodes.length} nodes, ${picture.sessions.length} BGP sessions, ${down} of them down`;
  const { lines, tags, note } = sessionLines(picture, plan);
  const size = { viewBox: `0 0 ${width} ${plan.height}`, height: plan.height };
  show(drawing, s("svg", { ...size, role: "img", "aria-label": title },
    plan.shapes, lines, plan.boxes, tags, note));
}

function layOut(picture, width) {
  const plan = { places: new Map(), shapes: [], boxes: [], height: 0, width };
  const of = (kind) => picture.speakers.filter((speaker) => speaker.kind === kind);
  const tops = [...of("border"), ...of("external")];
  const middle = width / 2;
  outside(plan, middle);
  let y = row(plan, tops, 60);
  for (const top of tops.filter((one) => one.kind === "border")) {
    const place = plan.places.get(top.name);
    const end = { x2: place.x + place.width / 2, y2: place.y };
    plan.shapes.push(s("line", { class: "wire", x1: middle, y1: 34, ...end }));
  }
  y = racks(plan, picture, y + (tops.length ? 34 : 0));
  const reflectors = of("reflector");
  // Below them is room for the sessions between those that are not side by side.
  if (reflectors.length) y = row(plan, reflectors, y + 40) + (reflectors.length > 2 ? 24 : 0);
  plan.height = y + 8;
  return plan;
}

function outside(plan, middle) {
  plan.boxes.push(
    s("rect", { class: "box outside", x: middle - 60, y: 4, width: 120, height: 30, rx: 15 }),
    s("text", { class: "name", x: middle, y: 24, "text-anchor": "middle" }, "outside"));
}

/** Speakers side by side, in as many rows as they need; gives where the next thing may begin. */
function row(plan, speakers, y) {
  const step = SPEAKER.width + 3 * GAP;
  const fit = Math.max(1, Math.floor((plan.width + 3 * GAP) / step));
  for (let first = 0; first < speakers.length; first += fit) {
    const part = speakers.slice(first, first + fit);
    const left = Math.max(0, (plan.width - part.length * step + 3 * GAP) / 2);
    part.forEach((speaker, index) => speakerBox(plan, speaker, left + index * step, y));
    y += SPEAKER.height + GAP;
  }
  return speakers.length ? y - GAP : y;
}

const WHAT = { border: "border router", router: "router", reflector: "reflector", external: "not one of ours" };

function speakerBox(plan, speaker, x, y) {
  const { width, height } = SPEAKER;
  const dead = speaker.silence !== null;
  plan.places.set(speaker.name, { x, y, width, height });
  const asn = speaker.network ? `, AS ${speaker.network.asn}` : "";
  const about = `${WHAT[speaker.kind]}${asn}`;
  const at = { x: x + 8, y: y + 35 };
  plan.boxes.push(s("g", { "data-speaker": speaker.name },
    s("title", {}, `${speaker.name}: ${about}${dead ? `; ${speaker.silence.why}` : ""}`),
    s("rect", { class: dead ? "box dead" : "box", x, y, width, height, rx: 6 }),
    s("text", { class: "name", x: x + 8, y: y + 18 }, speaker.name.slice(0, 22)),
    dead
      ? since(s, "text", { class: "bad small", ...at }, "✕ silent ", speaker.silence.since)
      : s("text", { class: "small", ...at }, about.slice(0, 30))));
}

function racks(plan, picture, top) {
  const groups = racksOf(picture.nodes);
  const size = picture.nodes.length > WIDE_MAX ? NARROW : WIDE;
  const step = size.width + GAP;
  const fit = Math.max(1, Math.floor((plan.width - (size === WIDE ? groups.size : 1) * 2 * GAP) / step));
  // Each rack has the columns that its share of the nodes earns it.
  const columnsOf = (nodes) => {
    const share = size === WIDE ? Math.floor(fit * nodes.length / picture.nodes.length) : fit;
    return Math.max(1, Math.min(nodes.length, share));
  };
  // A router stands above the nodes, and must not stick out.
  const widthOf = (nodes) => Math.max(columnsOf(nodes) * step, SPEAKER.width + GAP) + GAP;
  const total = [...groups.values()].reduce((sum, nodes) => sum + widthOf(nodes) + GAP, -GAP);
  const left = Math.max(0, (plan.width - total) / 2);
  let [x, y, bottom] = [left, top, top];
  for (const [rack, nodes] of groups) {
    const width = widthOf(nodes);
    if (x + width > plan.width + 1 && x > left) [x, y] = [left, bottom + 2 * GAP];
    bottom = Math.max(bottom, y + rackBox(plan, picture, { rack, nodes, alone: groups.size === 1, x, y, width, size, columns: columnsOf(nodes) }));
    x += width + GAP;
  }
  return bottom;
}

/** Gives the height. */
function rackBox(plan, picture, { rack, nodes, alone, x, y, width, size, columns }) {
  const routers = picture.speakers.filter((one) => one.kind === "router" && one.rack === rack);
  const first = y + 24 + (routers.length ? SPEAKER.height + 34 : 0);
  const step = { x: size.width + GAP, y: size.height + (size === WIDE ? GAP + 10 : 8) };
  // Below the nodes is room for the arcs between them, where they have any.
  const inside = new Set(nodes.map((node) => node.name));
  const mesh = picture.sessions.some((session) => inside.has(session.a) && inside.has(session.b));
  const arcs = size === WIDE && mesh ? 18 : 0;
  const height = first - y + Math.ceil(nodes.length / columns) * step.y + arcs;
  plan.shapes.push(
    s("rect", { class: "rack", x, y, width, height, rx: 8 }),
    s("text", { class: "small", x: x + GAP, y: y + 16 }, rack || (alone ? "nodes" : "no rack")));
  const span = routers.length * (SPEAKER.width + GAP) - GAP;
  routers.forEach((router, index) =>
    speakerBox(plan, router, x + (width - span) / 2 + index * (SPEAKER.width + GAP), y + 24));
  const inset = (width - columns * step.x + GAP) / 2;
  nodes.forEach((node, index) => {
    const place = { x: x + inset + (index % columns) * step.x, y: first + Math.floor(index / columns) * step.y };
    nodeBox(plan, node, size, place);
  });
  return height;
}

function nodeBox(plan, node, size, { x, y }) {
  const { word, kind } = condition(node);
  const { width, height } = size;
  plan.places.set(node.name, { x, y, width, height, isNode: true });
  const at = { x: x + 8, y: y + 33 };
  const before = node.ready ? "✕ silent " : "✕ lost ";
  const text = node.silence
    ? since(s, "text", { class: "bad small", ...at }, before, node.silence.since)
    : s("text", { class: `${kind} small`, ...at }, size === WIDE || kind === "bad" ? word : `${node.pods.length} pods`);
  plan.boxes.push(s("g", { "data-node": node.name },
    s("title", {}, `${node.name}: ${word}, ${node.pods.length} pods`),
    s("rect", { class: kind === "bad" ? "box dead" : "box", x, y, width, height, rx: 6 }),
    s("text", { class: "name", x: x + 8, y: y + 17 }, node.name.slice(0, size === WIDE ? 15 : 12)),
    text,
    size.dots ? dots(node, size, { x: x + 8, y: y + 51 }) : null));
}

function dots(node, size, at) {
  const shown = node.pods.slice(0, size.dots).map((pod) => s("tspan", { class: `pod ${pod.state}` }, SIGNS[pod.state]));
  const more = node.pods.length - shown.length;
  if (more > 0) shown.push(s("tspan", {}, ` +${more}`));
  return s("text", at, shown.length ? shown : s("tspan", { class: "pod done" }, "no pods"));
}

/** One line for each pair of speakers, red if a session of theirs is down. */
function sessionLines(picture, plan) {
  const pairs = new Map();
  for (const session of picture.sessions) {
    const key = `${session.a}\n${session.b}`;
    const before = pairs.get(key);
    if (!before || (before.up && !session.up)) pairs.set(key, session);
  }
  const [lines, tags] = [[], []];
  let hidden = 0;
  const many = pairs.size > LINES_MAX;
  // What is down is drawn last, above the rest.
  for (const session of [...pairs.values()].sort((a, b) => Number(b.up) - Number(a.up))) {
    const [from, to] = [plan.places.get(session.a), plan.places.get(session.b)];
    if (!from || !to) continue;
    if (many && session.up && (from.isNode || to.isNode)) {
      hidden += 1;
      continue;
    }
    const { path, at } = curve(from, to, plan);
    const why = session.error ? ` (${session.error})` : "";
    const label = `${session.a} – ${session.b}: ${session.up ? "established" : states(session)}${why}`;
    // A mesh of many must not hide what is down.
    const faint = session.up && from.isNode && to.isNode && pairs.size > FAINT_FROM ? " faint" : "";
    const marks = { class: `session ${session.up ? "up" : "down"}${faint}`, "data-session": `${session.a} ${session.b}` };
    lines.push(s("path", { ...marks, d: path }, s("title", {}, label)));
    if (!session.up) tags.push(tag(states(session), at));
  }
  const note = hidden
    ? s("text", { class: "small", x: 4, y: 16 }, `${hidden} established sessions of nodes are not drawn`)
    : null;
  return { lines, tags, note };
}

function curve(from, to, plan) {
  const middle = (place) => place.x + place.width / 2;
  const [x1, x2] = [middle(from), middle(to)];
  if (from.y === to.y && !from.isNode && !to.isNode && areNeighbours(from, to, plan)) {
    const [left, right] = from.x < to.x ? [from, to] : [to, from];
    const [start, end, y] = [left.x + left.width, right.x, left.y + left.height / 2];
    return { path: `M${start},${y} L${end},${y}`, at: [(start + end) / 2, y] };
  }
  if (Math.abs(from.y - to.y) < Math.max(from.height, to.height)) {
    // Side by side: an arc below both, deeper the further they are apart.
    const [y1, y2] = [from.y + from.height, to.y + to.height];
    const depth = 14 + Math.min(30, Math.abs(x1 - x2) / 14);
    const low = Math.max(y1, y2) + depth;
    return { path: `M${x1},${y1} C${x1},${low} ${x2},${low} ${x2},${y2}`, at: [(x1 + x2) / 2, low - depth / 4] };
  }
  const [upper, lower] = from.y < to.y ? [from, to] : [to, from];
  const [ux, lx] = [middle(upper), middle(lower)];
  const [y1, y2] = [upper.y + upper.height, lower.y];
  const half = (y1 + y2) / 2;
  return { path: `M${ux},${y1} C${ux},${half} ${lx},${half} ${lx},${y2}`, at: [(ux + lx) / 2, half] };
}

function areNeighbours(one, other, plan) {
  const [left, right] = [Math.min(one.x, other.x), Math.max(one.x, other.x)];
  return ![...plan.places.values()].some((place) => place.y === one.y && place.x > left && place.x < right);
}

function tag(text, [x, y]) {
  const width = text.length * 6.6 + 14;
  return s("g", {},
    s("rect", { class: "tag", x: x - width / 2, y: y - 9, width, height: 18, rx: 4 }),
    s("text", { class: "bad small", x, y: y + 4, "text-anchor": "middle" }, text));
}
