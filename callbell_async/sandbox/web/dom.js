// Elements. All text from outside is inserted as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** Return a new element with properties, and with children that are elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "onclick") made.addEventListener("click", value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  // `append` inserts a string as text.
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return a link that is opened elsewhere; a text, if the address is not a web address. */
export function link(address, text) {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    return element("span", {}, text);
  }
  if (!["http:", "https:"].includes(url.protocol)) return element("span", {}, text);
  return element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, text);
}

/**
 * Show items as the children of a parent. An element is built again only if its item changed, so that the focus, the
 * selected text and the opened details stay.
 */
export function showAll(parent, items, build) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const [key, item] of items) {
    const content = JSON.stringify(item);
    let child = before.get(key);
    before.delete(key);
    if (child === undefined || child.content !== content) {
      const made = build(item);
      made.dataset.key = key;
      made.content = content;
      if (child !== undefined) {
        const focused = child.contains(document.activeElement);
        if (child === place) place = made;
        child.replaceWith(made);
        if (focused) (made.matches("button") ? made : made.querySelector("button, a"))?.focus();
      }
      child = made;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const left of before.values()) left.remove();
}

/** Show the buttons to the pages before and after. */
export function showPager(parent, meta, go) {
  const key = JSON.stringify(meta);
  if (parent.content === key) return;
  parent.content = key;
  parent.hidden = meta.pages <= 1;
  const button = (text, page) => {
    const made = element("button", { type: "button", onclick: () => go(page) }, text);
    made.disabled = page < 1 || page > meta.pages;
    return made;
  };
  parent.replaceChildren(
    button("‹ Previous", meta.page - 1),
    element("span", {}, `${meta.page} of ${meta.pages}`),
    button("Next ›", meta.page + 1),
  );
}

export function clockTime(iso) {
  return new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

export function dateAndTime(iso) {
  return new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
