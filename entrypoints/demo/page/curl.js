/** The line for a shell that publishes what the form would. */

/** In single quotes a shell takes everything as it is but a single quote. */
export const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curlLine({ url, apiKey }, publication) {
  return [
    `curl ${url}/v1/notifications`,
    `-H ${quoted(`Authorization: Bearer ${apiKey}`)}`,
    `-H 'Content-Type: application/json'`,
    `-d ${quoted(JSON.stringify(publication))}`,
  ].join(" \\\n  ");
}
