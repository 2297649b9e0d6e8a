// All sessions as a table, for who wants more than lines: those that are down come first.

import { byId, h, show, since, states } from "./dom.js";

/** Rows; a mesh of many nodes has thousands of sessions, and the lines show what is down. */
const ROWS_MAX = 300;
const HEAD = ["between", "state", "for", "prefixes", "lost"];

export function drawSessions(picture) {
  const sorted = [...picture.sessions].sort((a, b) => Number(a.up) - Number(b.up));
  const rows = sorted.slice(0, ROWS_MAX).map(row);
  const head = HEAD.map((title) => h("th", { scope: "col" }, title));
  const more = sorted.length > ROWS_MAX ? h("p", { class: "quiet" }, `and ${sorted.length - ROWS_MAX} more`) : [];
  show(byId("session-list"),
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)), more);
}

function row(session) {
  const stale = session.stale ? `, ${session.stale} stale` : "";
  const error = session.error ? `: ${session.error}` : "";
  return h("tr", {},
    h("td", {}, `${session.a} – ${session.b}`),
    h("td", { class: session.up ? "good" : "bad" }, session.up ? "established" : `✕ ${states(session)}${error}`),
    since(h, "td", {}, "", session.since),
    h("td", {}, `${session.prefixes}${stale}`),
    h("td", { class: session.flaps ? "careful" : "quiet" }, times(session.flaps)));
}

function times(count) {
  if (!count) return "never";
  return count === 1 ? "once" : `${count} times`;
}
