/** The stock Socket.IO client, loaded as a script of somebody else's. */

const LOAD_MS = 8_000;

/**
 * `io`, or null where it cannot be had.
 *
 * @param {{url: string, integrity: string | null}} client
 */
export function loadSocketIo({ url, integrity }) {
  return new Promise((resolve) => {
    const script = document.createElement("script");
    const timer = setTimeout(() => resolve(null), LOAD_MS);
    const done = (io) => {
      clearTimeout(timer);
      resolve(io);
    };
    script.onload = () => done(globalThis.io ?? null);
    script.onerror = () => done(null);
    if (integrity) Object.assign(script, { integrity, crossOrigin: "anonymous" });
    script.src = url;
    document.head.append(script);
  });
}
