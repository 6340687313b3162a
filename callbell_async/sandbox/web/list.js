// The conversations on the left.

import { byId, clockTime, element, showAll, showPager } from "./dom.js";
import { summary, tick } from "./message.js";

const CHANNELS = { whatsapp: "WhatsApp", facebook: "Messenger", instagram: "Instagram", telegram: "Telegram" };

export const channelName = (channel) => CHANNELS[channel] ?? channel;

function row(conversation, open) {
  const { last } = conversation;
  return element(
    "li",
    {},
    element(
      "button",
      {
        type: "button",
        class: "conversation",
        "aria-current": conversation.selected ? "true" : null,
        onclick: () => open(conversation.contact),
      },
      element("span", { class: "avatar", "aria-hidden": "true" }, [...conversation.name][0]?.toUpperCase() ?? "?"),
      element("span", { class: "name" }, conversation.name || conversation.identifier),
      element("time", {}, last === null ? "" : clockTime(last.created_at)),
      element("span", { class: "preview" }, last === null ? "" : tick(last), last === null ? "no messages" : summary(last)),
      conversation.open ? null : element("span", { class: "badge" }, "closed"),
    ),
  );
}

export function showConversations({ conversations, meta }, selected, open, go) {
  const items = conversations.map((one) => [one.contact, { ...one, selected: one.contact === selected, window: null }]);
  const parent = byId("conversations");
  showAll(parent, items, (one) => row(one, open));
  parent.classList.toggle("empty", conversations.length === 0);
  showPager(byId("list-pager"), meta, go);
}

/** Move between the conversations with the arrow keys. */
export function useArrowKeys() {
  byId("conversations").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const buttons = [...byId("conversations").querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
  });
}
