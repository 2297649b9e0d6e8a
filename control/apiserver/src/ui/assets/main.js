// Follows the server's events and draws the parts of the picture that changed.

import { byId, clock, h, show, since } from "./dom.js";
import { follow } from "./events.js";
import { drawNodes } from "./nodes.js";
import { drawServices } from "./services.js";
import { drawSessions } from "./sessions.js";
import { drawTopology } from "./topology.js";

const SECTIONS = ["nodes", "unplaced", "speakers", "sessions", "services"];
/** The server says something every second; after so many without a word it is taken for lost. */
const SILENCE_MILLIS = 6000;

let picture = null;
let coming = {};
let heard = Date.now();

function connect() {
  const source = new EventSource("events");
  for (const name of SECTIONS) {
    source.addEventListener(name, (event) => {
      coming[name] = JSON.parse(event.data);
    });
  }
  source.addEventListener("told", told);
  // It tries again by itself, unless the answer was no stream.
  source.addEventListener("error", () => {
    lost();
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

function told() {
  heard = Date.now();
  byId("lost").hidden = true;
  byId("live").textContent = `live · ${clock(heard)}`;
  byId("live").className = "on";
  const changed = new Set(Object.keys(coming));
  const before = picture;
  picture = { ...picture, ...coming };
  coming = {};
  if (!changed.size || !SECTIONS.every((name) => picture[name])) return;
  draw(changed);
  if (before) follow(before, picture);
}

function draw(changed) {
  const any = (...names) => names.some((name) => changed.has(name));
  summarize();
  if (any("nodes", "speakers", "sessions")) drawTopology(picture);
  if (any("nodes", "unplaced", "sessions")) drawNodes(picture);
  if (any("services")) drawServices(picture);
  if (any("sessions")) drawSessions(picture);
}

function summarize() {
  const { nodes, sessions, services } = picture;
  const placed = nodes.flatMap((node) => node.pods);
  const pods = [...placed, ...picture.unplaced].filter((pod) => pod.state !== "done");
  const network = nodes.filter((node) => !node.silence).map((node) => node.network).filter((one) => one);
  const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);
  const ready = nodes.filter((node) => node.ready && !node.silence).length;
  const wanted = sum(network, (one) => one.routesWanted);
  show(byId("summary"),
    chip("nodes", "nodes ready", ready, nodes.length),
    chip("sessions", "sessions up", sessions.filter((session) => session.up).length, sessions.length),
    chip("routes", "routes in the kernel", sum(network, (one) => one.routesInstalled), wanted),
    chip("pods", "pods ready", pods.filter((pod) => pod.state === "ready").length, pods.length),
    h("li", { id: "sum-connections" }, h("b", {}, String(sum(services, (one) => one.connections))), " connections"));
}

function chip(id, what, good, all) {
  const bad = good < all;
  return h("li", { id: `sum-${id}`, class: bad ? "bad" : "" }, bad ? "✕ " : "", h("b", {}, `${good}/${all}`), ` ${what}`);
}

function lost() {
  const banner = byId("lost");
  if (!banner.hidden) return;
  banner.hidden = false;
  show(banner, since(h, "span", {}, "No connection to the server: what is below is as it was before ", heard));
  byId("live").textContent = "not connected";
  byId("live").className = "";
}

setInterval(() => {
  if (Date.now() - heard > SILENCE_MILLIS) lost();
}, 1000);

let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (picture?.nodes && window.innerWidth !== width) drawTopology(picture);
  width = window.innerWidth;
});

connect();
