// Drives the status page of a listener in headless Chromium; prints a line for each case.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const scratch = mkdtempSync(join(tmpdir(), "aqd-page-"));
let wrong = 0;

function say(name, right, seen) {
  if (!right) wrong += 1;
  console.log(`${right ? "ok" : "WRONG"} ${name}: ${seen}`);
}

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

// A listener with this configuration; its process and what the ready line says.
async function listener(name, text) {
  const file = join(scratch, `${name}.toml`);
  writeFileSync(file, text);
  const child = spawn(process.env.AQUEDUCT, ["serve", "--config", file], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const line = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(String(data)));
    let log = "";
    child.stderr.on("data", (data) => { log = (log + data).slice(-400); });
    child.once("exit", (code) => reject(new Error(`${name} ended with ${code}: ${log}`)));
  });
  return { child, http: /http=(\S+)/.exec(line)[1], admin: /admin=(\S+)/.exec(line)[1] };
}

async function stop(child) {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

function config(name, admin, rings) {
  return `[http]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:${admin}"\n` +
    `[control]\nsocket = "${join(scratch, name)}.sock"\n${rings}`;
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"],
});

// A page whose console errors are kept, and which may reach its own address only.
async function open(url, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  const strangers = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => request.url().startsWith(url) || strangers.push(request.url()));
  await page.goto(url);
  await page.waitForSelector("#rings tbody tr", { timeout: 60_000 });
  return { page, errors, strangers };
}

async function audit(page) {
  await page.evaluate(axe);
  const found = await page.evaluate("axe.run()");
  return found.violations.map((it) => `${it.id} (${it.nodes.length})`).join(", ");
}

try {
  const port = await freePort();
  const rings = ["orders", "readings"].map((name) =>
    `[[ring]]\nname = "${name}"\ncapacity_bytes = "1MiB"\nsubscriptions = ["erp", "lake"]\n`).join("")
    + '[[ring]]\nname = "kept"\ncapacity_bytes = "64KiB"\ndurability = "disk"\n'
    + `[journal]\ndirectory = "${scratch}"\n`;
  const text = config("small", port, rings);
  let served = await listener("small", text);
  const url = `http://127.0.0.1:${port}/`;
  const { page, errors, strangers } = await open(url);
  const textOf = (selector) => page.locator(selector).innerText();
  say("the page loads", (await textOf("#state")) === "ready", await textOf("#about"));
  say("nothing is wrong at first", (await textOf("#findings")).includes("nothing is wrong"),
    (await textOf("#findings")).replaceAll("\n", " "));

  const begun = performance.now();
  const posting = setInterval(() => {
    // More and fewer, for the pictures.
    if (Math.sin((performance.now() - begun) / 9000) < Math.random() - 1) return;
    fetch(`http://${served.http}/v1/rings/orders/records`, { method: "POST", body: "x".repeat(200) })
      .then((answer) => answer.arrayBuffer()).catch(() => {});
  }, 20);
  await page.waitForFunction(() => {
    const row = [...document.querySelectorAll("#rings tbody tr")]
      .find((it) => it.cells[0].textContent === "orders");
    return parseFloat(row.cells[2].textContent) > 0;
  }, null, { timeout: 20_000 });
  say("rates are updated", true, await textOf("#rings tbody tr:first-child"));
  await page.waitForFunction(() => document.getElementById("findings").textContent.includes("reader absent"));
  say("a subscription without a reader is found", true,
    (await textOf("#findings li:first-child")).replaceAll("\n", " "));
  const journal = await textOf("#journals tbody tr:first-child");
  say("a journal is there", /kept\s+disk\s+good/.test(journal), journal.replaceAll("\t", " "));

  // By keyboard alone: to the filter, to the rings, into one, and out of it.
  const focus = () => page.evaluate(() => {
    const it = document.activeElement;
    return `${it.tagName.toLowerCase()} ${it.id || it.textContent.trim()}`;
  });
  const reached = new Set();
  for (let press = 0; press < 40; press += 1) {
    await page.keyboard.press("Tab");
    reached.add(await focus());
    if ((await focus()) === "button orders") break;
  }
  say("the keyboard reaches filter, columns and rings",
    reached.has("input filter") && reached.has("button Ring") && reached.has("button orders"),
    `${reached.size} stops`);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#readers tbody tr");
  say("a ring opens by Enter and has the focus", (await focus()) === "h2 ring-title",
    `${await page.locator("#readers tbody tr").count()} readers`);
  if (process.env.SHOTS) {
    await page.waitForTimeout(150_000); // so that there is something to see
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width: 1100, height: 1000 });
      await page.screenshot({ path: join(process.env.SHOTS, `status-${colorScheme}.png`), fullPage: true });
    }
    await page.emulateMedia({ colorScheme: null });
  }
  say("axe-core, light", (await audit(page)) === "", (await audit(page)) || "no findings");
  for (const [name, options] of [
    ["dark", { colorScheme: "dark" }],
    ["on a phone", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
  ]) {
    const other = await open(`${url}#ring=orders`, options);
    await other.page.waitForSelector("#readers tbody tr");
    const found = await audit(other.page);
    say(`axe-core, ${name}`, found === "", found || "no findings");
    const wide = await other.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    say(`nothing is wider than the page, ${name}`, wide <= 0, `${wide} px`);
    await other.page.context().close();
  }

  const broken = await open(`${url}#ring=%`, {});
  await broken.page.waitForFunction(() => document.getElementById("fresh").textContent === "live");
  say("it goes on with an address that is no name", true, "#ring=%");
  await broken.page.context().close();

  clearInterval(posting);
  const before = errors.length;
  await stop(served.child);
  await page.waitForFunction(() => document.getElementById("state").textContent === "no answer");
  say("it says that the listener is gone", true, await textOf("#fresh"));
  served = await listener("small", text);
  await page.waitForFunction(() => document.getElementById("fresh").textContent === "live");
  say("it goes on after a restart", (await textOf("#state")) === "ready", await textOf("#about"));
  const others = errors.filter((it) => !/net::ERR_|Failed to load resource/.test(it));
  say("no errors on the console", before === 0 && others.length === 0,
    `${before}; ${errors.length - before} of the network while the listener was gone`);
  say("nobody else is asked", strangers.length === 0, strangers.join(" ") || "none");
  await page.context().close();
  await stop(served.child);

  // Each reader needs a descriptor of the listener: 64 of each ring where so many are allowed, else
  // as many as there are, and 64 of the ring that is open. The page is told of each ring what its
  // readers come to, and of the open one all of them.
  const files = Number(process.env.OPEN_FILES) || Infinity; // "unlimited"
  const each = Math.max(1, Math.min(64, Math.floor((files - 3000) / 1000)));
  const many = Array.from({ length: 1000 }, (_, ring) => {
    const length = ring === 7 ? 64 : each;
    const names = Array.from({ length }, (_, reader) => `"r${reader}"`).join(",");
    return `[[ring]]\nname = "ring${ring}"\ncapacity_bytes = 4096\nsubscriptions = [${names}]\n`;
  }).join("");
  const large = await listener("large", config("large", await freePort(), many));
  const big = await open(`http://${large.admin}/#ring=ring7`);
  await big.page.waitForSelector("#readers tbody tr");
  const loaded = performance.now();
  const busiest = await big.page.evaluate(() => new Promise((resolve) => {
    let longest = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
    }).observe({ type: "longtask" });
    setTimeout(() => resolve(longest), 12_000);
  }));
  // A task of the page beyond a tenth of a second is what people feel.
  say(`1,000 rings with ${each} readers each, one of them with 64`, busiest < 100,
    busiest ? `longest task ${busiest.toFixed(0)} ms in 12 s` : "no task over 50 ms in 12 s");
  await big.page.fill("#filter", "ring99");
  const rows = await big.page.locator("#rings tbody tr").count();
  say("the filter finds them", rows === 11, `${rows} of 11 rows, after ${((performance.now() - loaded) / 1000).toFixed(0)} s`);
  await stop(large.child);
} catch (error) {
  say("the run", false, String(error).replaceAll("\n", " "));
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`status_page: ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
