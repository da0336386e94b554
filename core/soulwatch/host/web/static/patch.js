// @ts-check
// Makes a part of the page look like a newer one and leaves alone what is the same: focus, scrolling and whatever was
// opened stay as they are, and screen readers hear of additions only.

/** @param {Node} node */
const keyOf = (node) => (node instanceof HTMLElement ? node.dataset.key || node.id : "");

/** @param {Node} node whitespace between elements is nothing to compare by */
const isSpace = (node) => node instanceof Text && !node.data.trim();

/** @param {Node} live @param {Node} fresh */
function isSameKind(live, fresh) {
  return live.nodeName === fresh.nodeName && keyOf(live) === keyOf(fresh);
}

/** @param {Element} live @param {Element} fresh */
function patchAttributes(live, fresh) {
  if (live.getAttribute("aria-busy") === "true") return;
  for (const { name, value } of fresh.attributes) {
    if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  }
  for (const { name } of [...live.attributes]) {
    // Whether it is open is the reader's decision; that it is new was found here.
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "data-new") live.removeAttribute(name);
  }
}

/** @param {Element} live @param {Element} fresh */
function patchChildren(live, fresh) {
  const kept = new Set([...fresh.children].map(keyOf));
  const known = new Map();
  for (const child of [...live.children]) {
    const key = keyOf(child);
    if (key && !kept.has(key)) child.remove();
    else if (key) known.set(key, child);
  }
  /** @type {ChildNode | null} */
  let at = live.firstChild;
  for (const next of [...fresh.childNodes]) {
    if (isSpace(next)) continue;
    while (at && isSpace(at)) at = at.nextSibling;
    const key = keyOf(next);
    const match = key ? known.get(key) : at && isSameKind(at, next) ? at : undefined;
    if (at && match === at) at = at.nextSibling;
    else if (match) live.insertBefore(match, at);
    if (match) patchNode(match, next);
    else live.insertBefore(made(next, live), at);
  }
  while (at) {
    const over = at;
    at = at.nextSibling;
    over.remove();
  }
}

/** @param {Node} fresh @param {Element} into */
function made(fresh, into) {
  const node = document.importNode(fresh, true);
  if (node instanceof HTMLElement && into.hasAttribute("data-fresh")) node.dataset.new = "";
  return node;
}

/** @param {Node} live @param {Node} fresh */
function patchNode(live, fresh) {
  if (live instanceof Text && fresh instanceof Text) {
    if (live.data !== fresh.data) live.data = fresh.data;
  } else if (live instanceof Element && fresh instanceof Element && !live.hasAttribute("data-keep")) {
    patchAttributes(live, fresh);
    patchChildren(live, fresh);
  }
}

/** @param {Document} page the newer page, each of whose parts replaces the one here */
export function patchParts(page) {
  for (const live of document.querySelectorAll("[data-part]")) {
    const fresh = page.getElementById(live.id);
    if (fresh) patchNode(live, fresh);
  }
}
