// The faults to switch on, those that are on, and the requests that got one.

import { api, ApiError } from "./api.js";
import { element, showAll } from "./dom.js";

let offered = null;

function input(name, value) {
  if (typeof value === "boolean") {
    const made = element("input", { type: "checkbox", name });
    made.checked = value;
    return made;
  }
  const type = typeof value === "number" ? "number" : "text";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return element("input", { type, name, value: text, step: "any" });
}

function read(field, value) {
  if (typeof value === "boolean") return field.checked;
  if (typeof value === "number") return Number(field.value);
  if (field.name === "headers" || (field.name === "body" && field.value !== "")) return JSON.parse(field.value);
  return field.value;
}

function buildForm(parent, refresh) {
  const choice = element("select", { id: "fault", name: "fault" }, ...offered.map(({ name }) => element("option", {}, name)));
  const effect = element("p", { class: "effect", id: "fault-effect" });
  const fields = element("div", { class: "fields" });
  const times = element("input", { type: "number", min: "1", id: "fault-times", placeholder: "no limit" });
  const messagesOnly = element("input", { type: "checkbox" });
  messagesOnly.checked = true;
  const error = element("p", { class: "error", role: "alert" });
  const current = () => offered.find(({ name }) => name === choice.value);
  const describe = () => {
    const { arguments: values, effect: text, outcome } = current();
    effect.replaceChildren(`${text[0].toUpperCase()}${text.slice(1)}. `, element("strong", {}, `Outcome: ${outcome}.`));
    fields.replaceChildren(...Object.entries(values).map(([name, value]) => element("label", {}, `${name} `, input(name, value))));
  };
  choice.addEventListener("change", describe);
  const form = element(
    "form",
    { id: "fault-form" },
    element("label", {}, "Fault ", choice),
    effect,
    fields,
    element("label", {}, "Number of requests ", times),
    element("label", { class: "check" }, messagesOnly, " messages only"),
    element("button", { type: "submit", class: "primary" }, "Switch on"),
    error,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    try {
      const fault = { name: choice.value };
      for (const [name, value] of Object.entries(current().arguments)) fault[name] = read(form.elements.namedItem(name), value);
      const rule = { faults: [fault] };
      if (times.value) rule.times = Number(times.value);
      if (messagesOnly.checked) rule.path = "/messages/send";
      await api.inject(rule);
      refresh();
    } catch (problem) {
      const known = { [ApiError.name]: problem.message, SyntaxError: "body and headers: must be JSON" };
      error.textContent = known[problem.constructor.name] ?? "The sandbox can't be reached.";
    }
  });
  describe();
  parent.replaceChildren(form);
}

function ruleRow(rule, refresh) {
  const limit = rule.times === null ? "" : ` of ${rule.times}`;
  return element(
    "div",
    { class: "rule" },
    element("strong", {}, rule.faults.join(", then ")),
    element("span", { class: "muted" }, `applied ${rule.applied}${limit} times`),
    element("button", { type: "button", onclick: async () => { await api.removeFault(rule.id); refresh(); } }, "Switch off"),
  );
}

export async function showFaults([form, rules, effects], state, requestRow, refresh) {
  offered ??= (await api.faults()).offered;
  if (form.childElementCount === 0) buildForm(form, refresh);
  const active = state.faults.map((rule) => [`${rule.id}`, rule]);
  showAll(rules, active.length ? active : [["none", null]], (rule) =>
    rule === null ? element("p", { class: "muted" }, "No fault is on.") : ruleRow(rule, refresh));
  const { requests, meta } = await api.requests(1);
  const faulty = requests.map((one, index) => [`${meta.total - index}`, one]).filter(([, one]) => one.fault !== null);
  const title = [["title", { fault: "title" }]];
  showAll(effects, faulty.length ? [...title, ...faulty.slice(0, 10)] : [], (one) =>
    one.fault === "title" && one.method === undefined ? element("h3", {}, "Latest requests with a fault") : requestRow(one));
}
