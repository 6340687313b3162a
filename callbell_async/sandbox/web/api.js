// The sandbox's control API.

/** The number of requests or deliveries on a page. */
export const ROWS = 30;

export class ApiError extends Error {}

async function call(method, path, document) {
  const options = { method };
  if (document !== undefined) {
    options.body = JSON.stringify(document);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await fetch(path, options);
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new ApiError(errorText(content.error));
  return content;
}

function errorText(error) {
  if (typeof error === "string") return error;
  return Object.entries(error)
    .map(([field, errors]) => `${field}: ${errors.join(", ")}`)
    .join("; ");
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null));

export const api = {
  state: () => call("GET", "state"),
  conversations: (page, search) => call("GET", `conversations?${query({ page, search })}`),
  conversation: (uuid, before, size) =>
    call("GET", `conversations/${encodeURIComponent(uuid)}?${query({ before, size })}`),
  message: (uuid) => call("GET", `messages/${encodeURIComponent(uuid)}`),
  requests: (page) => call("GET", `requests?${query({ page, size: ROWS })}`),
  deliveries: (page, message = null) => call("GET", `deliveries?${query({ page, size: ROWS, message })}`),
  faults: () => call("GET", "faults"),
  inject: (rule) => call("POST", "faults", rule),
  removeFault: (id) => call("DELETE", `faults/${id}`),
  receive: (message) => call("POST", "receive", message),
  advance: (seconds) => call("POST", "clock", { seconds }),
  reset: () => call("POST", "reset"),
};
