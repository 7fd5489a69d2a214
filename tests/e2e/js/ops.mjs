// Does on the operator's page what an operator does, in Chromium, and prints what it saw as one JSON object.
//
// argv: {"chromium", "url", "key", "user", "width", "scheme", "shots"}; the pictures go into that folder, if there is one.
// Without a user it looks at the nodes alone.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import puppeteer from "puppeteer-core";

const { chromium, url, key, user, width, scheme, shots } = JSON.parse(process.argv[2]);
const WAIT = { timeout: 30_000, polling: 100 };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-quic"],
});
process.on("SIGTERM", () => browser.close().finally(() => process.exit(1)));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
try {
  console.log(JSON.stringify({ seen: await seen() }));
} finally {
  await browser.close();
}

async function seen() {
  const page = await browser.newPage();
  const asked = [];
  const errors = [];
  // What is in its own address leaves nothing: the browser draws fields for dates so.
  page.on("request", (request) => request.url().startsWith("data:") || asked.push(request.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // Of an answer that is not 2xx, and of none, the browser itself says so.
    if (message.type() === "error" && !/^Failed to load resource: /.test(message.text())) errors.push(message.text());
  });
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`${url}/ops`);
  await page.waitForSelector("#login:not([hidden])", WAIT);
  const axe = {};
  const look = async (name) => {
    axe[name] = await findings(page);
    if (shots) await page.screenshot({ path: join(shots, `${name}-${width}-${scheme}.png`), fullPage: name === "console" || name === "lost" });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) errors.push(`${name} is ${wide} px too wide`);
    const cut = await page.$$eval(".scrolls", (all) => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.ariaLabel));
    if (cut.length > 0) errors.push(`${name} has tables that are cut off: ${cut.join(", ")}`);
  };
  await look("login");

  // All with the keyboard: what has the focus is the field for the key.
  await page.keyboard.type("a key that nobody has, of 32 characters");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#login-error").textContent, WAIT);
  const refused = await text(page, "#login-error");
  await page.keyboard.type(key);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#console:not([hidden])", WAIT);
  if (!user) {
    await page.waitForSelector("#nodes table", WAIT);
    await page.$eval("#nodes-title", (title) => title.scrollIntoView());
    await look("nodes");
    return { axe, errors, nodes: await page.$$eval("#nodes tbody tr", (all) => all.map((one) => one.innerText)), charts: await text(page, ".chart") };
  }
  await page.waitForFunction(() => document.querySelectorAll(".line").length > 5, WAIT);
  const cookies = await page.evaluate(() => document.cookie);
  const charts = await page.$$eval(".chart", (all) => all.map((one) => one.innerText));
  await page.click(".chart summary");
  await page.waitForSelector(".chart table", WAIT);
  const tableRows = await page.$$eval(".chart table tbody tr", (all) => all.map((one) => one.innerText));
  await look("console");

  await page.type("#user", user);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".look table").length >= 3, WAIT);
  const found = await text(page, "#found");
  await page.$eval("#user-title", (title) => title.scrollIntoView());
  await look("user");
  await page.evaluate(() => [...document.querySelectorAll("button")].find(({ textContent }) => textContent.startsWith("Show titles")).click());
  await page.waitForFunction(() => document.querySelector("#found").innerText.includes("Hide titles"), WAIT);
  const titled = await text(page, "#found");

  const listed = (name) => page.$$eval(`[aria-labelledby=look-${name}] tbody tr`, (all) => all.map((one) => one.innerText));
  const lists = (name, number) => page.waitForFunction((name, number) => document.querySelectorAll(`[aria-labelledby=look-${name}] tbody tr`).length === number, WAIT, name, number);
  const says = (name, words) => page.waitForFunction((name, words) => document.querySelector(`[aria-labelledby=look-${name}]`).innerText.includes(words), WAIT, name, words);
  const press = (name, words) => page.evaluate((name, words) => [...document.querySelectorAll(`[aria-labelledby=look-${name}] button`)].find(({ textContent }) => textContent === words).click(), name, words);
  for (const [name, older] of [["inbox", "20 older"], ["deliveries", "Older"]]) {
    await press(name, older);
    await lists(name, 3);
    await press(name, "Newest");
    await lists(name, 20);
  }
  await page.focus("#deliveries-id");
  await page.keyboard.type("mission-7");
  await page.keyboard.press("Enter");
  await lists("deliveries", 1);
  const narrowed = await listed("deliveries");
  const stayed = await page.evaluate(() => document.activeElement.id);
  await page.$eval("#look-deliveries", (title) => title.scrollIntoView());
  await look("narrowed");
  const since = (value) => page.$eval("#deliveries-since", (field, value) => (field.value = value), value);
  await since("2999-01-31T12:00");
  await page.keyboard.press("Enter");
  await says("deliveries", "No notification of that id was stored since then.");
  await since("2001-01-31T12:00");
  await page.keyboard.press("Enter");
  await lists("deliveries", 1);
  await page.keyboard.type(" is no id");
  await page.keyboard.press("Enter");
  await says("deliveries", "id: must be");
  const id = (value) => page.$eval("#deliveries-id", (field, value) => (field.value = value), value);
  await id("shift-7");
  await page.keyboard.press("Enter");
  await says("deliveries", "shift-7: It is scheduled: it is sent at");
  await id("");
  await since("2999-01-31T12:00");
  await page.keyboard.press("Enter");
  await says("deliveries", "for this user since then. Ask by its id about what was taken back");
  await since("2001-01-31T12:00");
  await page.keyboard.press("Enter");
  await lists("deliveries", 20);

  const stop = async (at) => {
    console.log(JSON.stringify({ at }));
    await lines.next();
  };
  const told = async () => {
    await page.waitForFunction(() => document.querySelector("#done").textContent, WAIT);
    return text(page, "#done");
  };
  const open = (name) => page.evaluate((name) => [...document.querySelectorAll("#found .danger")].find(({ textContent }) => textContent.startsWith(name)).click(), name);
  const isClosed = () => page.waitForFunction(() => !document.querySelector("#confirm").open, WAIT);
  await open("Block");
  await look("question-block");
  await page.keyboard.press("Escape");
  await isClosed();
  await open("Close");
  const question = await text(page, "#confirm");
  const focused = await page.evaluate(() => document.activeElement.id);
  await look("question");
  await page.keyboard.press("Escape");
  await isClosed();
  const afterEscape = await text(page, "#found");
  await open("Close");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const done = { closed: await told() };
  await says("connections", "Not connected");
  await stop("closed");

  await open("Block");
  await page.type("#field-reason", "lost a phone");
  await page.keyboard.press("Enter");
  done.blocked = await told();
  await says("block", "Blocked until somebody undoes it: lost a phone");
  await page.$eval("#user-title", (title) => title.scrollIntoView());
  await look("blocked");
  await stop("blocked");
  await open("Unblock");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  done.unblocked = await told();
  await says("block", "Not blocked.");
  await stop("unblocked");
  await press("connections", "Refresh");
  await lists("connections", 1);
  await open("Revoke");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  done.revoked = await told();
  await says("connections", "Not connected");
  await stop("revoked");
  await press("connections", "Refresh");
  await lists("connections", 1);

  await stop("stop");
  await page.waitForFunction(() => document.querySelector("#banner").innerText.startsWith("No answer"), WAIT);
  const banner = await text(page, "#banner");
  const health = await text(page, "#health");
  await page.waitForFunction(() => document.querySelector("#nodes").innerText !== "", WAIT);
  await look("lost");
  return { axe, errors, refused, cookies, charts, tableRows, found, titled, question, focused, afterEscape, narrowed, stayed, done, banner, health, asked: [...new Set(asked)] };
}

function text(page, selector) {
  return page.$eval(selector, (one) => one.innerText);
}

async function findings(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target.join(" ")} ${failureSummary}`).join(", ")}`);
}
