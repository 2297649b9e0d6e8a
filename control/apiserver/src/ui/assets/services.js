// Services, and what is open to each of the pods behind them.

import { byId, h, show } from "./dom.js";

export function drawServices(picture) {
  const shown = picture.services.map(service);
  show(byId("service-list"), shown.length ? shown : h("p", { class: "quiet" }, "no services"));
}

function service(one) {
  const most = Math.max(1, ...one.backends.map((backend) => backend.connections));
  const about = one.approximate ? "~" : "";
  const ways = Object.entries(one.ways).filter(([, count]) => count > 0);
  const line = (kind, ...words) => h("p", { class: kind }, ...words);
  return h("article", { class: "service", "data-service": `${one.namespace}/${one.name}` },
    h("h3", {}, `${one.namespace}/${one.name}`, h("span", { title: "open connections" }, `${about}${one.connections}`)),
    one.vips.length ? line("", h("b", {}, "VIP "), one.vips.join(", ")) : null,
    line("quiet", `${one.clusterIps.join(", ") || one.kind} · ${one.ports.join(", ")}`),
    ways.length ? line("quiet", ways.map(([way, count]) => `${about}${count} by ${way}`).join(" · ")) : null,
    one.notProgrammed.length ? line("bad", `✕ not in the kernel of ${one.notProgrammed.join(", ")}`) : null,
    one.backends.map((backend) => row(one, backend, most, about)),
    one.backends.length ? null : line("quiet", "no backends of ours"));
}

/** What a pod's name has besides its service's tells it from the others. */
function short(service, name) {
  return name.startsWith(`${service.name}-`) ? `…${name.slice(service.name.length)}` : name;
}

function row(service, backend, most, about) {
  const fill = h("i");
  // By the object model: the policy of the page has no inline styles.
  fill.style.width = `${100 * backend.connections / most}%`;
  const active = backend.state === "active";
  const title = `${backend.name} on ${backend.node}: ${backend.addresses.join(" ")}, ${backend.state}`;
  return h("div", { class: "backend", "data-backend": backend.name, title },
    h("span", {}, short(service, backend.name)),
    h("span", { class: active ? "quiet" : "careful" }, active ? backend.node ?? "" : backend.state),
    h("span", { class: "bar" }, fill),
    h("span", { class: "count" }, `${about}${backend.connections}`));
}
