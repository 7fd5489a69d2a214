/** Null where it is none that a page may be left for. */
export function addressOf(text, schemes = /^(https?|mailto|tel):/) {
  try {
    const { href } = new URL(text, document.baseURI);
    return typeof text === "string" && schemes.test(href) ? href : null;
  } catch {
    return null;
  }
}

/** A button where there is nowhere to go. */
export function linkOrButton(part, text, url) {
  const href = addressOf(url);
  const node = document.createElement(href ? "a" : "button");
  if (href) {
    node.href = href;
    node.rel = "noopener";
    if (/^http/.test(href) && new URL(href).origin !== location.origin) node.target = "_blank";
  } else {
    node.type = "button";
  }
  node.part = node.className = part;
  node.dataset.does = "act";
  const span = document.createElement("span");
  span.dir = "auto";
  span.textContent = text;
  node.append(span);
  return node;
}
