// A browser with a page in it, for tests of the element. It does what it is told on stdin, one JSON object a line, and
// answers each in a line: {"number", "answer"} or {"number", "error"}. What the console says that is an error goes out
// as {"console": text}. The end of stdin ends the browser.
//
// argv: {"browser": "chrome" | "firefox", "executable", "profile"}
// stdin: {"number", "does", "with": [..]}, where "does" is one of the names below.
import { createInterface } from "node:readline";
import { readFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";

const { browser: name, executable, profile } = JSON.parse(process.argv[2]);
const ARGUMENTS = {
  chrome: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-sync"],
  firefox: [],
};
const browser = await puppeteer.launch({
  browser: name,
  executablePath: executable,
  userDataDir: profile,
  args: ARGUMENTS[name],
  // So that a page is kept for a return to it, as it is where no test drives it.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
  headless: true,
});
const say = (value) => console.log(JSON.stringify(value));
const newTab = async () => {
  const tab = await browser.newPage();
  tab.on("console", (message) => message.type() === "error" && say({ console: message.text() }));
  tab.on("pageerror", (error) => say({ console: String(error) }));
  return tab;
};
const tabs = [await newTab()];
/** The one that all of this is about. */
let page = tabs[0];

let front;
const sessions = new Map();
const chromium = async (method, argument) => {
  if (!sessions.has(page)) sessions.set(page, await page.createCDPSession());
  return sessions.get(page).send(method, argument);
};
const live = (state) => chromium("Page.setWebLifecycleState", { state });

const DOES = {
  open: (address) => page.goto(address),
  evaluate: (script) => page.evaluate(script),
  until: async (script, timeout) => void (await page.waitForFunction(script, { timeout, polling: 50 })),
  click: (selector) => page.locator(selector).setTimeout(5000).click(),
  // At once, and false where there is nothing of that to be clicked.
  tap: async (selector) => {
    const node = await page.$(selector);
    const isClicked = node && node.click().then(() => true, () => false);
    return Boolean(await isClicked);
  },
  hover: (selector) => page.locator(selector).setTimeout(5000).hover(),
  press: (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve()),
  resize: (width, height) => page.setViewport({ width, height }),
  // Puppeteer knows fewer of them.
  prefer: (...features) => chromium("Emulation.setEmulatedMedia", { features }),
  screenshot: async (path) => void (await page.screenshot({ path })),
  offline: (isOffline) => page.setOfflineMode(isOffline),
  // Another page comes in front of it.
  hide: async (isFrozen) => {
    front ??= await browser.newPage();
    await front.bringToFront();
    if (isFrozen) await live("frozen");
  },
  show: async () => {
    await live("active");
    await page.bringToFront();
  },
  // The first is 0.
  tab: async (number) => {
    page = tabs[number] ??= await newTab();
    await page.bringToFront();
  },
  close: () => page.close(),
  // It does nothing else until its server answers, and takes no processor for that.
  hang: async () => {
    page.evaluate(() => {
      const request = new XMLHttpRequest();
      request.open("GET", "/hang", false);
      request.send();
    }).catch(() => {});
  },
  // As where its process ends at once.
  crash: async () => void page.goto("chrome://crash").catch(() => {}),
  back: () => page.goBack(),
  load: async (path) => void (await page.evaluate(await readFile(path, "utf8"))),
  memory: async () => {
    await chromium("HeapProfiler.collectGarbage");
    return (await page.metrics()).JSHeapUsedSize;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { number, does, with: given } = JSON.parse(line);
  DOES[does](...given).then(
    (answer) => say({ number, answer: answer ?? null }),
    (error) => say({ number, error: String(error) }),
  );
}
await browser.close();
