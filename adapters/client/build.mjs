// Makes the modules that pages load. argv: the folder where they are to be.
import { createHash } from "node:crypto";
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

/**
 * Those of src that are loaded once they are wanted: the sources write `import(PANEL_FILE)` for "panel". Each becomes a
 * file that is whole in itself, so that the first one never waits for another. What both import is in both, and a class
 * is another one in each: it has to be handed over where that matters.
 */
const LATER = ["panel", "socket_line", "tabs"];

/** Properties that nobody outside of these modules ever sees become short, and the same in each. */
const internalNames = JSON.parse(await readFile(new URL("src/internal_names.json", import.meta.url), "utf8"));
const mangleProps = new RegExp(`^(${internalNames.join("|")})$`);
let mangleCache = {};

async function made(name, define = {}) {
  const bundled = await build({
    entryPoints: [fileURLToPath(new URL(`src/${name}.js`, import.meta.url))],
    write: false,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    define,
    external: ["./synkrone-inbox-*.js"],
    mangleProps,
    mangleCache,
  });
  mangleCache = bundled.mangleCache;
  // Of what esbuild leaves, Terser makes 4 % less, compressed.
  const { code } = await minify(bundled.outputFiles[0].text, { module: true, ecma: 2020, compress: { passes: 2 } });
  return code;
}
const files = {};
const define = {};
for (const name of LATER) {
  const text = await made(name);
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 10);
  const file = `synkrone-inbox-${name.replaceAll("_", "-")}-${digest}.js`;
  files[file] = text;
  define[`${name.toUpperCase()}_FILE`] = JSON.stringify(`./${file}`);
}
files["synkrone-inbox.js"] = await made("index", define);

const folder = process.argv[2];
for (const file of await readdir(folder)) {
  if (/^synkrone-inbox.*\.js$/.test(file)) await rm(join(folder, file));
}
for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text);
