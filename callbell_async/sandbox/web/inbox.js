// The inbox: fetches what is shown, again after each change of the sandbox.

import { api } from "./api.js";
import { PAGE_SIZE, showChat } from "./chat.js";
import { useComposer, useNewCustomer } from "./composer.js";
import { byId, dateAndTime } from "./dom.js";
import { showConversations, useArrowKeys } from "./list.js";
import { panel, showPanel, useTabs } from "./panel.js";

const view = { page: 1, search: "", selected: null, before: null, conversation: null };
const wide = window.matchMedia("(min-width: 800px)");
let running = false;
let again = false;
let timer = null;
let behind = "list";

/** Fetch and show everything. A call during another one starts it once more afterwards. */
async function refresh() {
  again = true;
  if (running) return;
  running = true;
  try {
    while (again) {
      again = false;
      await show();
    }
    live(true);
  } catch {
    live(false);
  } finally {
    running = false;
  }
}

async function show() {
  const [state, list] = await Promise.all([api.state(), api.conversations(view.page, view.search)]);
  if (view.page > list.meta.pages) {
    view.page = list.meta.pages;
    again = true;
    return;
  }
  if (view.selected === null && wide.matches && list.conversations.length > 0 && view.search === "") {
    view.selected = list.conversations[0].contact;
  }
  byId("url").textContent = state.url;
  byId("time").textContent = dateAndTime(state.time);
  showConversations(list, view.selected, open, (page) => change({ page }));
  const { selected, before } = view;
  const conversation = selected === null || state.contacts === 0 ? null : await conversationOrNone(selected, before);
  // Another chat may have been opened meanwhile.
  if (selected === view.selected && before === view.before) {
    view.conversation = conversation;
    showChat(conversation, before, (end) => change({ before: end }), inspect);
    showAgainAfter(conversation?.next_change ?? null);
  }
  await showPanel(state, refresh);
}

async function conversationOrNone(uuid, before) {
  try {
    return await api.conversation(uuid, before, PAGE_SIZE);
  } catch (error) {
    if (error.message !== "not found") throw error;
    // The contact was deleted.
    if (view.selected === uuid) view.selected = null;
    return null;
  }
}

// The status of a message changes with time, without an event.
function showAgainAfter(seconds) {
  clearTimeout(timer);
  if (seconds !== null) timer = setTimeout(refresh, Math.min(seconds * 1000 + 20, 3_600_000));
}

function change(values) {
  Object.assign(view, values);
  refresh();
}

function open(contact) {
  document.body.dataset.view = "chat";
  change({ selected: contact, before: null });
}

function inspect(item) {
  Object.assign(panel, { tab: "message", message: { uuid: item.uuid, kind: item.kind } });
  if (!wide.matches) openPanel();
  refresh();
}

function openPanel() {
  behind = document.body.dataset.view;
  document.body.dataset.view = "panel";
}

function live(connected) {
  byId("live").textContent = connected ? "live" : "disconnected";
  byId("live").classList.toggle("off", !connected);
}

function useButtons() {
  byId("back").addEventListener("click", () => { document.body.dataset.view = "list"; });
  byId("show-panel").addEventListener("click", () => {
    if (document.body.dataset.view !== "panel") openPanel();
  });
  byId("close-panel").addEventListener("click", () => { document.body.dataset.view = behind; });
  byId("reset").addEventListener("click", async () => {
    if (!window.confirm("Remove all messages, faults and deliveries?")) return;
    await api.reset();
    Object.assign(panel, { message: null, page: 1 });
    change({ selected: null, before: null, page: 1 });
  });
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => api.advance(Number(button.dataset.advance)).catch(() => live(false)));
  }
  byId("search").addEventListener("input", () => change({ search: byId("search").value, page: 1 }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select")) {
      event.preventDefault();
      byId("search").focus();
    }
  });
}

useButtons();
useArrowKeys();
useTabs(refresh);
useComposer(() => ({ sender: view.conversation.identifier, channel: view.conversation.channel }));
useNewCustomer(() => change({ selected: null, before: null, page: 1, search: "" }));

const changes = new EventSource("changes");
changes.addEventListener("message", refresh);
changes.addEventListener("error", () => live(false));
