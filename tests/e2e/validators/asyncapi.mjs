// Prints, as JSON, what the parser of AsyncAPI has against the document on stdin.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(diagnostics.map(({ code, message, path }) => ({ code, message, path: path.join(".") }))));
