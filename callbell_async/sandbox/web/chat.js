// The chat in the middle.

import { byId, dateAndTime, element, showAll } from "./dom.js";
import { channelName } from "./list.js";
import { bubble } from "./message.js";

export const PAGE_SIZE = 100;

let shown = null;

function showWindow(window) {
  const label = byId("window");
  const text = { true: "24-hour window open", false: "24-hour window closed", null: "has not written yet" }[window.open];
  label.className = `window ${window.open === null ? "never" : window.open ? "open" : "closed"}`;
  label.textContent = text;
  label.title = window.closes_at === null ? "The window opens when the customer writes." : `until ${dateAndTime(window.closes_at)}`;
}

/** Show a part of a conversation. `move` is called with the number of the item that is the end of another part, or null. */
export function showChat(conversation, before, move, inspect) {
  const history = byId("history");
  byId("composer").hidden = conversation === null;
  if (conversation === null) {
    shown = null;
    byId("chat-name").textContent = byId("chat-number").textContent = byId("window").textContent = "";
    byId("window").className = "window";
    showAll(history, [["empty", {}]], () => hint());
    return;
  }
  byId("chat-name").textContent = conversation.name || conversation.identifier;
  byId("chat-number").textContent = [conversation.identifier, channelName(conversation.channel)].filter(Boolean).join(" · ");
  showWindow(conversation.window);
  const isOther = shown !== `${conversation.contact} ${before}`;
  const isAtEnd = history.scrollHeight - history.scrollTop - history.clientHeight < 40;
  const items = conversation.history.map((item, index) => [`${conversation.start + index}`, item]);
  const end = conversation.start + items.length;
  if (conversation.start > 0) items.unshift(["earlier", { text: `Earlier messages (${conversation.start})`, to: conversation.start }]);
  if (end < conversation.items) {
    const to = end + PAGE_SIZE >= conversation.items ? null : end + PAGE_SIZE;
    items.push(["later", { text: `Later messages (${conversation.items - end})`, to }]);
  }
  if (items.length === 0) items.push(["none", { text: "No messages", to: undefined }]);
  showAll(history, items, (item) => (item.kind === undefined ? mover(item, move) : bubble(item, inspect)));
  if (isOther || isAtEnd) history.scrollTop = history.scrollHeight;
  shown = `${conversation.contact} ${before}`;
}

function mover({ text, to }, move) {
  if (to === undefined) return element("p", { class: "hint" }, text);
  return element("button", { type: "button", class: "mover", onclick: () => move(to) }, text);
}

function hint() {
  return element(
    "div",
    { class: "hint" },
    element("p", {}, "No conversation is open."),
    element("p", {}, "Send a message with a client, or choose New to write as a customer."),
  );
}
