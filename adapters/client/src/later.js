/* global PANEL_FILE, SOCKET_LINE_FILE, TABS_FILE -- of build.mjs */

export const loadPanel = loader(
  () => import(PANEL_FILE),
  () => new URL(PANEL_FILE, import.meta.url),
);
export const loadSocketLine = loader(
  () => import(SOCKET_LINE_FILE),
  () => new URL(SOCKET_LINE_FILE, import.meta.url),
);
export const loadTabs = loader(
  () => import(TABS_FILE),
  () => new URL(TABS_FILE, import.meta.url),
);

/**
 * What gives a module, one attempt for all who ask at a time. It rejects with TypeError where the module cannot be
 * loaded, and may succeed later. Firefox does not ask again for what it could not load once, except under another address.
 */
function loader(load, address) {
  let loading = null;
  const attempt = () => load().catch(() => import(`${address()}?${Date.now()}`));
  return () =>
    (loading ??= attempt().finally(() => {
      loading = null;
    }));
}
