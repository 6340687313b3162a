// One message in a chat, as a phone shows it.

import { clockTime, element, link } from "./dom.js";
import { icon } from "./icons.js";

const TICKS = {
  enqueued: ["◷", "accepted"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
  failed: ["!", "failed"],
  mismatch: ["!", "failed: mismatch"],
};

/** Return the tick of a sent message's status. */
export function tick(item) {
  if (item.kind !== "sent" || item.status === undefined) return null;
  const [symbol, meaning] = TICKS[item.status] ?? ["", item.status];
  return element("span", { class: `tick ${item.status}`, role: "img", "aria-label": meaning, title: meaning }, symbol);
}

/** Return one line about a message, for the list. */
export function summary(item) {
  if (item.text) return item.text;
  if (item.location) return "Location";
  if (item.attachments.length > 0) return `${kindOf(item, item.attachments[0])}: ${fileName(item.attachments[0])}`;
  return "";
}

function fileName(address) {
  try {
    const path = new URL(address).pathname;
    return decodeURIComponent(path.slice(path.lastIndexOf("/") + 1)) || address;
  } catch {
    return address;
  }
}

function kindOf(item, address) {
  if (item.type !== undefined && item.type !== "text") return item.type;
  const ending = fileName(address).toLowerCase().split(".").pop();
  if (["jpg", "jpeg", "png", "gif", "webp"].includes(ending)) return "image";
  if (["mp3", "ogg", "m4a", "wav"].includes(ending)) return "audio";
  if (["mp4", "mov", "webm"].includes(ending)) return "video";
  return ending === "pdf" ? "document" : "file";
}

// The page makes no request to other servers, so a file is shown by its name.
function attachment(item, address) {
  const kind = kindOf(item, address);
  return element(
    "div",
    { class: `media ${kind}` },
    icon(kind),
    element("span", { class: "file" }, link(address, fileName(address)), element("small", {}, kind)),
  );
}

function place({ latitude, longitude, map_url }) {
  const text = `${latitude}, ${longitude}`;
  return element(
    "div",
    { class: "media location" },
    icon("location"),
    element("span", { class: "file" }, map_url ? link(map_url, text) : text, element("small", {}, "location")),
  );
}

/** Return a message; `inspect` is called to show its raw request and response. */
export function bubble(item, inspect) {
  return element(
    "article",
    { class: `bubble ${item.kind}` },
    item.kind === "note" ? element("span", { class: "label" }, "Note") : null,
    item.template ? element("span", { class: "label" }, `Template: ${item.template}`) : null,
    ...item.attachments.map((address) => attachment(item, address)),
    item.location ? place(item.location) : null,
    item.text ? element("p", {}, item.text) : null,
    element(
      "footer",
      {},
      item.uuid === null || item.kind === "note"
        ? null
        : element("button", { type: "button", class: "raw", onclick: () => inspect(item), title: "Show the raw request and response" }, "raw"),
      element("time", {}, clockTime(item.created_at)),
      tick(item),
    ),
    item.failure ? element("p", { class: "failure" }, item.failure) : null,
  );
}
