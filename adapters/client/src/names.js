const TITLE_MAX_LENGTH = 500;

/** What a type is called: as the page's messages have it, else in its own words. */
export function nameOf(type, { texts }) {
  return texts[`type:${type}`] ?? type.replace(/[._-]+/g, " ");
}

export function titleOf({ title, type }, language) {
  return title ? title.slice(0, TITLE_MAX_LENGTH) : nameOf(type, language);
}
