/* global PANEL_FILE -- of build.mjs */

let loading = null;

/**
 * The panel's module, one attempt for all who ask at a time. Rejects with TypeError where it cannot be loaded, and may
 * succeed later.
 */
export function loadPanel() {
  return (loading ??= attempt().finally(() => {
    loading = null;
  }));
}

/** Firefox does not ask again for what it could not load once, except under another address. */
async function attempt() {
  try {
    return await import(PANEL_FILE);
  } catch {
    return import(`${new URL(PANEL_FILE, import.meta.url)}?${Date.now()}`);
  }
}
