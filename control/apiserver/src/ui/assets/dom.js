// Elements, times, and the few words that several parts of the page use.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Children are text or elements; text is never read as HTML. */
export function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Puts new children in the place of the old, and the focus back to where it was. */
export function show(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.id : "";
  container.replaceChildren(...children.flat(Infinity));
  if (focused) byId(focused)?.focus();
}

export function clock(millis) {
  return new Date(millis).toLocaleTimeString("en-GB");
}

export function age(since) {
  const secs = Math.max(0, Math.round((Date.now() - since) / 1000));
  if (secs < 120) return `${secs} s`;
  if (secs < 7200) return `${Math.floor(secs / 60)} min`;
  if (secs < 172800) return `${Math.floor(secs / 3600)} h`;
  return `${Math.floor(secs / 86400)} d`;
}

/** An age that goes on by itself; `make` is `h` or `s`, `tag` what takes text there. */
export function since(make, tag, attributes, before, at) {
  const element = make(tag, { ...attributes, "data-since": at, "data-before": before });
  element.textContent = before + age(at);
  return element;
}

setInterval(() => {
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = element.dataset.before + age(Number(element.dataset.since));
  }
}, 1000);

export const SIGNS = { ready: "●", starting: "◌", ending: "◐", failed: "✕", done: "○" };

/** What is seen of a node at a glance: a word, and whether it is good. */
export function condition(node) {
  if (node.silence && !node.ready) return { word: "✕ lost", kind: "bad" };
  if (node.silence) return { word: "✕ network silent", kind: "bad" };
  if (!node.ready) return { word: "✕ not ready", kind: "bad" };
  if (!node.schedulable) return { word: "ready, cordoned", kind: "careful" };
  return { word: "ready", kind: "good" };
}

/** The states of both ends of a session, in words. */
export function states(session) {
  const told = [...new Set([session.aState, session.bState].filter((state) => state))];
  const wrong = told.filter((state) => session.up || state !== "Established");
  return wrong.join(" / ") || "down";
}
