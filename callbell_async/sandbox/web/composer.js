// The boxes in which one writes as a customer.

import { api, ApiError } from "./api.js";
import { byId } from "./dom.js";

async function attempt(place, send) {
  place.textContent = "";
  try {
    await send();
    return true;
  } catch (error) {
    place.textContent = error instanceof ApiError ? error.message : "The sandbox can't be reached.";
    return false;
  }
}

function extras() {
  const [file, latitude, longitude] = ["file", "latitude", "longitude"].map((id) => byId(id).value.trim());
  const given = {};
  if (file) given.attachments = [file];
  if (latitude || longitude) given.location = { latitude: Number(latitude), longitude: Number(longitude) };
  return given;
}

/** Send what is written in the box; `customer` returns the sender and the channel of the open chat. */
export function useComposer(customer) {
  const form = byId("composer");
  const text = byId("customer-text");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const message = { ...customer(), text: text.value, ...extras() };
    if (await attempt(byId("composer-error"), () => api.receive(message))) {
      form.reset();
      text.focus();
    }
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("more").addEventListener("click", () => {
    byId("extras").hidden = !byId("extras").hidden;
    byId("more").setAttribute("aria-expanded", String(!byId("extras").hidden));
    if (!byId("extras").hidden) byId("file").focus();
  });
}

/** Let a new customer write; `open` is called without an argument when the message was received. */
export function useNewCustomer(open) {
  const dialog = byId("new-dialog");
  byId("new").addEventListener("click", () => dialog.showModal());
  byId("new-cancel").addEventListener("click", () => dialog.close());
  byId("new-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const message = { sender: byId("new-sender").value, channel: byId("new-channel").value, text: byId("new-text").value };
    if (await attempt(byId("new-error"), () => api.receive(message))) {
      byId("new-form").reset();
      dialog.close();
      open();
    }
  });
}
