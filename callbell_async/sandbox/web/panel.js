// The tools on the right: faults, requests, the webhook, one message.

import { api, ROWS } from "./api.js";
import { byId, clockTime, element, showAll, showPager } from "./dom.js";
import { showFaults } from "./faults.js";

export const panel = { tab: "faults", page: 1, message: null };

function pretty(body) {
  if (typeof body !== "string") return JSON.stringify(body, null, 2);
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

function raw(title, first, headers, body) {
  const lines = [first, ...headers.map(([name, value]) => `${name}: ${value}`)];
  const head = first === "" ? "" : `${lines.join("\n")}\n\n`;
  return element("div", { class: "raw-part" }, element("h3", {}, title), element("pre", { tabindex: "0" }, `${head}${pretty(body)}`));
}

function response(shown, missing) {
  if (shown === null) return element("div", { class: "raw-part" }, element("h3", {}, "Response"), element("p", { class: "muted" }, missing));
  return raw("Response", `Status ${shown.status}`, shown.headers, shown.body);
}

const requestParts = (request) => [
  raw("Request", `${request.method} ${request.target}`, request.headers, request.body),
  response(request.response, request.fault === null ? "Not sent yet." : `No complete response, because of the fault ${request.fault}.`),
];

const deliveryParts = (delivery) => [
  raw("Event", `POST ${delivery.event}`, [], { event: delivery.event, payload: delivery.payload }),
  response(delivery.response, "No complete response in time."),
];

function status(code) {
  const kind = code === null ? "bad" : code < 300 ? "good" : "bad";
  return element("span", { class: `status ${kind}` }, code === null ? "none" : String(code));
}

export function requestRow(request) {
  const line = element(
    "summary",
    {},
    status(request.status),
    element("span", { class: "what" }, `${request.method} ${request.target.replace(/^\/v1/, "")}`),
    request.fault === null ? null : element("span", { class: "badge fault" }, request.fault),
  );
  return element("details", {}, line, ...requestParts(request));
}

function deliveryRow(delivery) {
  const line = element(
    "summary",
    {},
    status(delivery.response?.status ?? null),
    element("span", { class: "what" }, delivery.event),
    element("time", {}, clockTime(delivery.created_at)),
  );
  return element("details", {}, line, ...deliveryParts(delivery));
}

/** Return the parts of the panel, which stay while one tab is shown. */
function parts(...names) {
  const body = byId("panel");
  if (body.dataset.shown !== panel.tab) {
    body.dataset.shown = panel.tab;
    body.replaceChildren(...names.map((name) => element("div", { class: name })));
  }
  return names.map((name) => body.querySelector(`.${name}`));
}

function webhookText(state) {
  const { webhook, deliveries } = state;
  if (webhook === null) return "No webhook is subscribed. A client subscribes one on 127.0.0.1 with POST /webhooks/subscribe.";
  const counts = `${deliveries.delivered} delivered, ${deliveries.failed} failed, ${deliveries.waiting} waiting`;
  const kind = deliveries.signed ? "signed" : "not signed";
  return `${webhook.enabled ? "Enabled" : "Disabled after repeated failures"}: ${webhook.url} (${kind}). ${counts}.`;
}

// A row is known by its place from the oldest one: newer rows do not build the older ones again.
const numbered = (items, meta) =>
  items.map((item, index) => [`${meta.total - (meta.page - 1) * ROWS - index}`, item]);

async function showRequests(refresh) {
  const { requests, meta } = await api.requests(panel.page);
  const [rows, pager] = parts("rows", "pager");
  const items = numbered(requests, meta);
  showAll(rows, items.length ? items : [["none", null]], (one) => (one === null ? element("p", { class: "muted" }, "No requests yet.") : requestRow(one)));
  showPager(pager, meta, (page) => turn(page, refresh));
}

async function showWebhook(state, refresh) {
  const { deliveries, meta } = await api.deliveries(panel.page);
  const [text, rows, pager] = parts("about", "rows", "pager");
  text.textContent = webhookText(state);
  showAll(rows, deliveries.map((one) => [one.uuid, one]), deliveryRow);
  showPager(pager, meta, (page) => turn(page, refresh));
}

async function showMessage() {
  const [rows] = parts("rows");
  const { message } = panel;
  if (message === null) {
    showAll(rows, [["none", {}]], () => element("p", { class: "muted" }, "Choose “raw” at a message."));
    return;
  }
  const { deliveries } = await api.deliveries(1, message.uuid);
  const items = deliveries.map((one) => [one.uuid, one]);
  if (message.kind === "sent") {
    const { request, message: sent } = await api.message(message.uuid);
    items.unshift(["request", request], ["report", { report: sent.report }]);
  }
  if (items.length === 0) items.push(["none", { text: "No webhook was notified of this message." }]);
  showAll(rows, items, (one) => {
    if (one.text) return element("p", { class: "muted" }, one.text);
    if ("report" in one) return raw("messageStatusPayload", "", [], one.report ?? "No report yet.");
    return one.event ? deliveryRow(one) : element("div", {}, ...requestParts(one));
  });
}

function turn(page, refresh) {
  panel.page = page;
  refresh();
}

export async function showPanel(state, refresh) {
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const isShown = tab.dataset.tab === panel.tab;
    tab.setAttribute("aria-selected", String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
  }
  byId("panel").setAttribute("aria-labelledby", `tab-${panel.tab}`);
  byId("tab-faults").textContent = state.faults.length ? `Faults (${state.faults.length})` : "Faults";
  if (panel.tab === "faults") await showFaults(parts("form", "rules", "effects"), state, requestRow, refresh);
  else if (panel.tab === "requests") await showRequests(refresh);
  else if (panel.tab === "webhook") await showWebhook(state, refresh);
  else await showMessage();
}

/** Change the tab with a click or with the arrow keys. */
export function useTabs(refresh) {
  const tabs = [...document.querySelectorAll("[data-tab]")];
  const choose = (tab) => {
    Object.assign(panel, { tab: tab.dataset.tab, page: 1 });
    refresh();
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      next.focus();
      choose(next);
    });
  }
}
