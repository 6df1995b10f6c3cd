// A person at a browser of their own: what they do on the page, and what they see there.
import { createRequire } from "node:module";
import { readdirSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Longest wait for anything the page is to say or show. Kafka takes a while to come back on a busy machine. */
export const PATIENCE = 40_000;
export const WIDE = { width: 1280, height: 800 };
export const NARROW = { width: 390, height: 780 };

export class Person {
  /** Opens a browser. `folder` is where pictures go. */
  static async arrive(name, url, folder) {
    const server = await chromium.launchServer({
      executablePath: "/usr/bin/chromium",
      // As root, as in CI, there is no sandbox to be had; the pages are our own.
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
    const browser = await chromium.connect(server.wsEndpoint());
    const context = await browser.newContext({ viewport: WIDE, locale: "en-GB" });
    context.setDefaultTimeout(PATIENCE);
    const person = new Person();
    Object.assign(person, { name, url, folder, server, browser, context, complaints: [] });
    await person.newTab();
    return person;
  }

  async newTab() {
    this.page = await this.context.newPage();
    // A refused policy, an exception; that a node is away is none of the page's faults.
    this.page.on("pageerror", (error) => this.complaints.push(String(error)));
    this.page.on("console", (line) => /Content.Security.Policy|Refused to/i.test(line.text()) && this.complaints.push(line.text()));
    this.page.on("dialog", (dialog) => this.complaints.push(`a dialog: ${dialog.message()}`));
    await this.page.goto(this.url);
  }

  async signIn() {
    await this.page.fill("#name", this.name);
    await this.page.keyboard.press("Enter");
    await this.state("live");
  }

  async state(state) {
    await this.page.waitForSelector(`.pill[data-state="${state}"]`);
  }

  async told(text) {
    await this.page.waitForSelector(`.banner:has-text(${JSON.stringify(text)})`);
  }

  async toldNothing() {
    await this.page.waitForSelector(".banner", { state: "detached" });
  }

  async write(text) {
    await this.page.fill("#text", text);
    await this.page.press("#text", "Enter");
  }

  /** Waits for a message with exactly this text. For one's own, `state` is waiting, sent or failed. */
  async sees(text, state) {
    await this.page.waitForFunction(
      ([wanted, state]) => [...document.querySelectorAll("li[data-key]")].some((row) => row.querySelector(".bubble p").textContent === wanted && (!state || row.dataset.state === state)),
      [text, state],
    );
  }

  /** All messages on the page, oldest first. */
  async lines() {
    return this.page.$$eval("li[data-key]", (rows) => rows.map((row) => ({ key: row.dataset.key, text: row.querySelector(".bubble p").textContent, state: row.dataset.state })));
  }

  /** Reads back to where the room begins. */
  async readAll() {
    await this.page.waitForFunction(() => {
      const view = document.querySelector(".scroller");
      view.scrollTop = 0;
      return document.querySelector(".beginning")?.textContent === "This is where the room begins.";
    }, undefined, { polling: 50 });
    return this.lines();
  }

  /** A picture at each width. */
  async picture(name) {
    for (const size of [WIDE, NARROW]) {
      await this.page.setViewportSize(size);
      await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await this.page.screenshot({ path: `${this.folder}/${name}-${size.width}.png`, animations: "disabled" });
    }
    await this.page.setViewportSize(WIDE);
  }

  /** Pictures at both widths, light and dark, of a page that a screen reader and everybody's eyes can use. */
  async accessible(name) {
    for (const colorScheme of ["dark", "light"]) {
      await this.page.emulateMedia({ colorScheme });
      await this.picture(colorScheme === "dark" ? `${name}-dark` : name);
      for (const size of [WIDE, NARROW]) {
        await this.page.setViewportSize(size);
        // By the debugger's way in, which the page's policy does not concern.
        await this.page.evaluate(AXE);
        const { violations } = await this.page.evaluate(() => globalThis.axe.run());
        for (const { id, help, nodes } of violations) {
          throw new Error(`${name}, ${size.width}, ${colorScheme}: ${id}: ${help}\n${nodes.map((node) => `${node.html}\n${node.failureSummary}`).join("\n")}`);
        }
      }
    }
    await this.page.setViewportSize(WIDE);
  }

  /** Stops every process of the browser, as closing a laptop does. */
  sleep() {
    this.#signal("SIGSTOP");
  }

  wake() {
    this.#signal("SIGCONT");
  }

  #signal(signal) {
    for (const pid of tree(this.server.process().pid)) process.kill(pid, signal);
  }

  async leave() {
    await this.server.kill();
  }
}

/** A process and all that descend from it. */
function tree(root) {
  const parents = new Map();
  for (const name of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = [root];
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.push(child);
  return found;
}
