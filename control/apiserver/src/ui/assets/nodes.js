// Nodes as cards by rack: what is ready, sessions, routes, pods.

import { SIGNS, byId, condition, h, show, since } from "./dom.js";
import { racksOf } from "./topology.js";

/** Routes of the nodes whose table is open, by name; a text where there are none. */
const open = new Map();
/** Pods of a card that are shown. */
const PODS_MAX = 12;

export function drawNodes(picture) {
  const cards = [];
  const racks = racksOf(picture.nodes);
  for (const [rack, nodes] of racks) {
    if (racks.size > 1 || rack) cards.push(h("h3", {}, rack || "no rack"));
    cards.push(...nodes.map((node) => card(node, picture)));
  }
  if (picture.unplaced.length) {
    cards.push(h("h3", {}, "Pods without a node"), h("div", { class: "card" }, pods(picture.unplaced)));
  }
  show(byId("node-list"), cards);
}

function card(node, picture) {
  const { word, kind } = condition(node);
  return h("article", { class: kind === "bad" ? "card dead" : "card", "data-node": node.name },
    h("h4", {}, node.name, h("span", { class: kind }, word)),
    node.reason ? h("p", { class: "bad" }, node.reason) : null,
    node.silence ? silence(node) : null,
    h("dl", {},
      h("dt", {}, "addresses"), h("dd", {}, node.addresses.join(", ")),
      sessionsRow(node, picture), routesRow(node), blocksRow(node)),
    (node.network?.problems ?? []).map((problem) => h("p", { class: "careful" }, `⚠ ${problem}`)),
    pods(node.pods), routesTable(node));
}

function silence(node) {
  const words = since(h, "span", {}, "its network daemon is silent for ", node.silence.since);
  return h("p", { class: "bad" }, words, `: ${node.silence.why}`);
}

function sessionsRow(node, picture) {
  const own = picture.sessions.filter((session) => session.a === node.name || session.b === node.name);
  const up = own.filter((session) => session.up).length;
  const text = `${up} of ${own.length} established`;
  return [h("dt", {}, "sessions"), h("dd", { class: up < own.length ? "bad" : "" }, text)];
}

function routesRow(node) {
  if (!node.network) return [];
  const { routesInstalled, routesWanted, stale } = node.network;
  const missing = routesInstalled < routesWanted;
  const text = `${routesInstalled} of ${routesWanted} in the kernel${stale ? ", when last heard" : ""}`;
  return [h("dt", {}, "routes"), h("dd", { class: missing ? "bad" : "" }, text)];
}

function blocksRow(node) {
  const blocks = node.network?.blocks ?? [];
  return blocks.length ? [h("dt", {}, "blocks"), h("dd", {}, blocks.join(", "))] : [];
}

function pods(list) {
  const shown = list.slice(0, PODS_MAX).map((pod) =>
    h("li", { title: `${pod.namespace}/${pod.name} ${pod.addresses.join(" ")}` },
      h("span", { class: `pod ${pod.state}`, "aria-hidden": "true" }, SIGNS[pod.state]),
      h("span", {}, pod.name),
      h("span", { class: podClass(pod) }, podWords(pod))));
  if (list.length > PODS_MAX) shown.push(h("li", { class: "quiet" }, `and ${list.length - PODS_MAX} more`));
  return h("ul", { "aria-label": "Pods" }, shown.length ? shown : h("li", { class: "quiet" }, "no pods"));
}

/** The sign says it of the many that are well; a word is for those who cannot see it. */
function podClass(pod) {
  if (pod.state === "ready" && !pod.restarts) return "unseen";
  return pod.state === "failed" ? "bad" : "quiet";
}

function podWords(pod) {
  const restarts = pod.restarts ? `, ${pod.restarts} restarts` : "";
  return `${pod.state}${pod.reason ? `: ${pod.reason}` : ""}${restarts}`;
}

/** Asked for when it is opened, since all routes of all nodes would be too much to send always. */
function routesTable(node) {
  const details = h("details", { open: open.has(node.name) ? "" : null },
    h("summary", { id: `routes-of-${node.name}` }, "Routes"), table(node.name));
  details.addEventListener("toggle", () => {
    if (details.open && !open.has(node.name)) load(node.name);
    if (!details.open && details.isConnected) open.delete(node.name);
  });
  return details;
}

async function load(name) {
  open.set(name, "asking…");
  let said;
  try {
    const answer = await fetch(`routes?of=${encodeURIComponent(name)}`);
    const routes = await answer.json();
    said = answer.ok ? routes : routes.message;
  } catch (error) {
    said = String(error);
  }
  if (!open.has(name)) return;
  open.set(name, said);
  // The card may have been drawn anew meanwhile.
  byId(`routes-of-${name}`)?.nextElementSibling?.replaceWith(table(name));
}

function table(name) {
  const routes = open.get(name) ?? "";
  if (typeof routes === "string") return h("p", { class: "quiet" }, routes);
  const rows = routes.map((route) => h("tr", {}, h("td", {}, route.prefix), h("td", {}, via(route)), kernel(route)));
  const head = ["prefix", "via", "kernel"].map((title) => h("th", { scope: "col" }, title));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

function via(route) {
  if (route.nextHops.length) return route.nextHops.map((hop) => hop.address).join(", ");
  return route.interfaces.join(", ") || "blackhole";
}

function kernel(route) {
  if (route.installed) return h("td", { class: route.wanted ? "good" : "careful" }, route.wanted ? "installed" : "leftover");
  return h("td", { class: "bad" }, route.wanted ? "✕ missing" : "gone");
}
