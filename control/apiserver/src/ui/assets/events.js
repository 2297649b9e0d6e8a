// What changed from one picture to the next, in words.

import { byId, clock, h, states } from "./dom.js";

const EVENTS_MAX = 200;

function note(kind, text, at = Date.now()) {
  const list = byId("event-list");
  const time = h("time", { datetime: new Date(at).toISOString() }, clock(at));
  list.prepend(h("li", {}, time, h("span", { class: kind }, text)));
  while (list.children.length > EVENTS_MAX) list.lastElementChild.remove();
}

/** Calls `changed` with what was before, or nothing, and what is; then `gone` with what is no more. */
function compare(before, now, key, changed, gone = () => {}) {
  const old = new Map(before.map((one) => [key(one), one]));
  for (const one of now) {
    changed(old.get(key(one)), one);
    old.delete(key(one));
  }
  old.forEach(gone);
}

const named = (one) => one.name;
const qualified = (one) => `${one.namespace}/${one.name}`;

export function follow(before, now) {
  compare(before.nodes, now.nodes, named, nodeChanged, (node) => note("careful", `node ${node.name} was removed`));
  compare(before.speakers, now.speakers, named, (old, one) => silenceChanged(one.name, old, one));
  compare(numbered(before.sessions), numbered(now.sessions), (session) => session.key, sessionChanged);
  compare(placed(before), placed(now), qualified, podChanged, (pod) => note("quiet", `pod ${pod.name} left ${pod.node}`));
  compare(before.services, now.services, qualified, serviceChanged,
    (one) => note("careful", `service ${qualified(one)} was deleted`));
}

function placed(picture) {
  return picture.nodes.flatMap((node) => node.pods.map((pod) => ({ ...pod, node: node.name })));
}

/** Two speakers may have a session in each family. */
function numbered(sessions) {
  const seen = new Map();
  return sessions.map((session) => {
    const pair = `${session.a}–${session.b}`;
    seen.set(pair, (seen.get(pair) ?? 0) + 1);
    return { ...session, pair, key: `${pair} ${seen.get(pair)}` };
  });
}

function silenceChanged(name, old, one) {
  if (one.silence && !old?.silence) note("bad", `${name}: network daemon silent (${one.silence.why})`, one.silence.since);
  if (!one.silence && old?.silence) note("good", `${name}: network daemon answers again`);
}

function nodeChanged(old, node) {
  if (!old) return note("quiet", `node ${node.name} is new`);
  silenceChanged(node.name, old, node);
  if (old.ready && !node.ready) note("bad", `node ${node.name} is not ready: ${node.reason}`);
  if (!old.ready && node.ready) note("good", `node ${node.name} is ready`);
  if (old.schedulable !== node.schedulable) note("careful", `node ${node.name} is ${node.schedulable ? "uncordoned" : "cordoned"}`);
}

function sessionChanged(old, session) {
  if (!session.up && (!old || old.up)) return note("bad", `session ${session.pair} down: ${states(session)}${session.error ? ` (${session.error})` : ""}`);
  if (session.up && old && !old.up) return note("good", `session ${session.pair} established`);
  // It came back between two pictures.
  if (session.up && old?.up && session.flaps > old.flaps) note("careful", `session ${session.pair} was lost and is back`);
}

function podChanged(old, pod) {
  if (old?.state === pod.state) return;
  const kind = { ready: "good", failed: "bad" }[pod.state] ?? "quiet";
  note(kind, `pod ${pod.name} on ${pod.node}: ${pod.state}${pod.reason ? ` (${pod.reason})` : ""}`);
}

function serviceChanged(old, service) {
  const name = qualified(service);
  if (!old) return note("quiet", `service ${name} is new`);
  const active = (one) => one.backends.filter((backend) => backend.state === "active").length;
  if (active(old) && !active(service)) note("bad", `service ${name} has no active backend`);
  if (!active(old) && active(service)) note("good", `service ${name} has ${active(service)} active backends`);
}
