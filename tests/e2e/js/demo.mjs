// Visits the demo's page in Chromium, does what a visitor does, and prints what it saw as one JSON object.
//
// argv: {"chromium", "link", "story"}; the story is "whole", "stream", "tries", or what a planted bug does: "drops", "doubles".
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const { chromium, link, story } = JSON.parse(process.argv[2]);
const PLANTED = {
  drops: ["taps.js", "heard(name, args[0]", "(name !== 'notification.new' || Math.random() < 0.5) && heard(name, args[0]"],
  doubles: ["taps.js", "heard(name, args[0]", "heard(name, args[0], args.at(-1)) || heard(name, args[0]"],
  // No bug: what is sent later, or put off, comes sooner.
  tries: ["tries.js", "SOON_SECONDS = 10", "SOON_SECONDS = 4"],
};
const WAIT = { timeout: 30_000, polling: 100 };

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-quic"],
});
process.on("SIGTERM", () => browser.close().finally(() => process.exit(1)));
try {
  console.log(JSON.stringify(await told()));
} finally {
  await browser.close();
}

async function told() {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    // Of a line that is cut and a server that is killed the browser itself says so.
    const isOfLine = /^Failed to load resource: net::|^WebSocket connection to /.test(message.text());
    if (message.type() === "error" && !isOfLine) errors.push(message.text());
  });
  await page.setViewport({ width: 1280, height: 900 });
  if (story in PLANTED) await plant(page, ...PLANTED[story]);
  await page.goto(link);
  await page.waitForFunction(() => document.querySelector("#connections").textContent === "2 of 2", WAIT);
  const transports = await page.$$eval(".phone > header .fine", (all) => all.map((one) => one.innerText.split(" · ")[2]));
  const tour = await takeTour(page);
  const notice = await page.$eval("#notice", (one) => one.textContent);

  if (story === "stream") {
    await setRate(page, 20);
    await received(page, 10);
    await setRate(page, 0);
    return { transports, notice, end: await settled(page) };
  }
  if (story === "tries") return tried(page, errors);
  if (story in PLANTED) {
    await setRate(page, 20);
    const wrong = story === "drops" ? "lost" : "doubled";
    await page.waitForFunction((id) => Number(document.querySelector(`#${id}`).textContent) > 1, WAIT, wrong);
    return { end: await figures(page) };
  }

  const form = await publishByForm(page);
  const curl = await runCurl(page);
  await setRate(page, 20);
  await received(page, 10);
  await page.click('[data-wire="0"] button');
  await page.waitForFunction(() => document.querySelector("#connections").textContent === "1 of 2", WAIT);
  await page.waitForFunction(() => Number(document.querySelector("#on-its-way").textContent) > 5, WAIT);
  const cut = await figures(page);
  await page.click('[data-wire="0"] button');
  await page.waitForFunction(() => document.querySelector("#connections").textContent === "2 of 2", WAIT);

  const before = (await figures(page)).received;
  await page.click("#kill");
  await page.waitForFunction(() => /started 2 times/.test(document.querySelector("#server-state").textContent), WAIT);
  await received(page, before + 20);
  await setRate(page, 50);
  const badges = await fullBadges(page);
  await setRate(page, 0);
  const end = await settled(page);
  const axe = { light: await findings(page, "light"), dark: await findings(page, "dark") };
  return { errors, transports, tour, form, curl, cut, killed: { starts: 2 }, badges, end, axe };
}

async function plant(page, file, before, after) {
  await page.setRequestInterception(true);
  const path = new URL(`../../../entrypoints/demo/page/${file}`, import.meta.url);
  const source = readFileSync(path, "utf8");
  if (!source.includes(before)) throw new Error("what was to be replaced is not there");
  page.on("request", (request) =>
    request.url().endsWith(`/${file}`)
      ? request.respond({ contentType: "text/javascript", body: source.replace(before, after) })
      : request.continue(),
  );
}

/** What the first row of each phone shows after each of the tries. */
async function tried(page, errors) {
  const press = async (does) => {
    await page.waitForFunction((does) => button(does) && !button(does).disabled, WAIT, does);
    await page.evaluate((does) => button(does).click(), does);
  };
  await page.evaluate(() => {
    globalThis.button = (does) => [...document.querySelectorAll("#tries button")].find((each) => each.textContent === does);
    globalThis.phones = () => [...document.querySelectorAll("synkrone-inbox")].map(({ shadowRoot }) => shadowRoot);
    globalThis.first = () =>
      phones().map((phone) => {
        const row = phone.querySelector("li");
        const [title, edited] = [".title", ".revised:not([hidden])"].map((part) => row?.querySelector(part)?.textContent);
        return [title, edited, Boolean(row?.matches(".unread"))].join("|");
      });
  });
  const shows = (text) =>
    page.waitForFunction((text) => first().every((row) => row === text), WAIT, text).catch(async () => {
      throw new Error(`${text}: ${await page.evaluate(() => JSON.stringify([first(), document.querySelector("#asked").textContent]))}`);
    });
  /** On both phones, the first of these. */
  const click = (selector) =>
    page.evaluate((selector) => {
      for (const phone of phones()) phone.querySelector(selector).click();
    }, selector);
  const answered = (method, status) =>
    page.waitForFunction(
      (method, status) => {
        const { textContent } = document.querySelector("#asked");
        return textContent.startsWith(method) && textContent.endsWith(`→ ${status}`);
      },
      WAIT,
      method,
      status,
    );
  await press("Publish one");
  await shows("Your mission is in Lyon||true");
  await press("Change it");
  await shows("Your mission is in Bergen|Edited|true");
  await answered("PATCH", 200);
  await press("Take it back");
  await shows("||false");
  await answered("DELETE", 200);
  const isOver = await page.evaluate(() => ["Change it", "Take it back"].every((does) => button(does).disabled));
  await press("Send it in 4 s");
  await answered("POST", 201);
  const early = await page.evaluate(() => first());
  await shows("Your shift begins||true");
  await click("[data-does=read]");
  await shows("Your shift begins||false");
  await press("Snooze");
  await shows("||false");
  await shows("Your shift begins||true");
  // For an hour, and back at once.
  for (const does of ["[data-does=snooze]", "[role=menuitem]"]) await click(does);
  await shows("||false");
  await click("#snoozed");
  await shows("Your shift begins||true");
  await click("[data-does=unsnooze]");
  await shows("||false");
  await click("#all");
  await shows("Your shift begins||true");
  return { errors, isOver, early, end: await figures(page), axe: { light: await findings(page, "light"), dark: await findings(page, "dark") } };
}

/** How many steps it has. */
async function takeTour(page) {
  let steps = 0;
  while (await page.$eval("#tour", (tour) => !tour.hidden)) {
    steps++;
    await page.click("#tour-next");
  }
  return steps;
}

async function figures(page) {
  const number = (text) => Number(text.replaceAll(",", ""));
  const ids = ["published", "received", "on-its-way", "lost", "doubled"];
  const texts = await Promise.all(ids.map((id) => page.$eval(`#${id}`, (one) => one.textContent)));
  const [published, received, onItsWay, lost, doubled] = texts.map(number);
  const state = await page.$eval("#strip", (strip) => strip.dataset.state);
  return { published, received, onItsWay, lost, doubled, state };
}

async function received(page, least) {
  await page.waitForFunction(
    (least) => Number(document.querySelector("#received").textContent.replaceAll(",", "")) >= least,
    WAIT,
    least,
  );
}

/** What the bells show once each has more unread than it says. */
async function fullBadges(page) {
  const shown = () =>
    [...document.querySelectorAll("synkrone-inbox")].map(({ shadowRoot }) => shadowRoot.querySelector("#badge").textContent);
  await page.waitForFunction(`(${shown})().every((text) => text.endsWith("+"))`, WAIT);
  return page.evaluate(shown);
}

/** Once nothing is waited for any more. */
async function settled(page) {
  await page.waitForFunction(
    () =>
      document.querySelector("#on-its-way").textContent === "0" &&
      document.querySelector("#waiting").textContent === "" &&
      document.querySelector("#strip").dataset.state !== "uneven",
    WAIT,
  );
  return figures(page);
}

async function setRate(page, rate) {
  await page.$eval(
    "#rate",
    (range, rate) => {
      range.value = String(rate);
      for (const name of ["input", "change"]) range.dispatchEvent(new Event(name, { bubbles: true }));
    },
    rate,
  );
}

async function write(page, field, text) {
  await page.$eval(`#publish [name=${field}]`, (input) => input.select());
  await page.type(`#publish [name=${field}]`, text);
}

/** What the phones show, in whatever they show it. */
function screens(page) {
  return page.$$eval(".screen", (all) =>
    all.map((screen) => (screen.querySelector("synkrone-inbox")?.shadowRoot ?? screen).textContent),
  );
}

async function publishByForm(page) {
  const title = `It's "here" $HOME \`id\` \\ 100%`;
  await write(page, "title", title);
  await page.click("#publish [type=submit]");
  await page.waitForFunction(() => document.querySelector("#answer").textContent.startsWith("201"), WAIT);
  await received(page, 1);
  return (await screens(page)).map((text) => text.includes(title));
}

async function runCurl(page) {
  const title = `From a 'shell', "quoted" $(id) !! \\n \u{1f69a}`;
  await write(page, "title", title);
  const { origin } = new URL(link);
  await browser.defaultBrowserContext().overridePermissions(origin, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  await page.click("#copy");
  await page.waitForFunction(() => document.querySelector("#copy").textContent === "Copied", WAIT);
  const line = await page.evaluate(() => navigator.clipboard.readText());
  const { status, stderr } = spawnSync("bash", ["-c", line.replace("curl ", "curl -sS -f ")], { encoding: "utf8" });
  let shown = false;
  for (let attempt = 0; attempt < 100 && !shown; attempt++) {
    shown = (await screens(page))[0].includes(title);
    if (!shown) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { status, stderr, shown };
}

async function findings(page, scheme) {
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  // Colours that are on their way are neither the one nor the other.
  await page.evaluate(() => {
    const phones = [...document.querySelectorAll("synkrone-inbox")].map(({ shadowRoot }) => shadowRoot);
    const animations = [document, ...phones].flatMap((tree) => tree.getAnimations());
    // One that is cancelled has ended too.
    return Promise.allSettled(animations.map(({ finished }) => finished));
  });
  const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}
