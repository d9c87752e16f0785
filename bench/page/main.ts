/**
 * How the page answers, in headless Chromium: until the guest's first character, from a drop until the first story, frames while the
 * timeline is panned, memory. `npm run bench:page -- FOLDER…`: each folder holds files of one run, which are dropped together.
 */
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Page } from 'playwright-core';
import { openChromium } from '../../test/chromium.ts';
import { servePage } from '../../src/cli/page-server.ts';

const root = resolve(import.meta.dirname, '../..');
const PAN_MS = 3000;
const { server, url } = await servePage(join(root, 'dist/page'), '127.0.0.1', 0);
const context = await openChromium({ width: 1400, height: 1000 });

/** Milliseconds between frames while the timeline goes to and fro under the wheel. */
const pan = (page: Page): Promise<{ median: number; p99: number; longest: number }> =>
  page.evaluate(async (length) => {
    const canvas = document.querySelector('canvas')!;
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'Home' }));
    for (let i = 0; i < 4; i++) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'w' }));
    const gaps: number[] = [];
    const begin = performance.now();
    for (let last = begin; last - begin < length; ) {
      const deltaY = Math.sin((last - begin) / 300) * 60;
      canvas.dispatchEvent(new WheelEvent('wheel', { deltaY, shiftKey: true, cancelable: true }));
      const now = await new Promise<number>((done) => requestAnimationFrame(done));
      gaps.push(now - last);
      last = now;
    }
    gaps.sort((a, b) => a - b);
    return { median: gaps[gaps.length >> 1]!, p99: gaps[Math.floor(gaps.length * 0.99)]!, longest: gaps.at(-1)! };
  }, PAN_MS);

/** MB of the page with its Workers; undefined where the browser does not tell. */
const memory = (page: Page): Promise<number | undefined> =>
  page.evaluate(async () => {
    const { measureUserAgentSpecificMemory: measure } = performance as {
      measureUserAgentSpecificMemory?(): Promise<{ bytes: number }>;
    };
    return measure === undefined ? undefined : (await measure.call(performance)).bytes / 1e6;
  });

const ms = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0)} ms`;

try {
  context.setDefaultTimeout(600_000);
  const page = await context.newPage();
  for (const which of ['first', 'second']) {
    await page.goto(url);
    await page.waitForFunction(() => /tiny guest/.test(document.querySelector('.console')?.textContent ?? ''), undefined, {
      polling: 10,
    });
    const character = await page.evaluate(() => performance.now());
    await page.waitForSelector('.hops li');
    const story = await page.evaluate(() => performance.now());
    console.log(`${which} start: first console character ${ms(character)}, first story ${ms(story)}`);
  }
  for (const folder of process.argv.slice(2)) {
    const files = readdirSync(folder).map((name) => join(folder, name));
    const size = files.reduce((sum, file) => sum + statSync(file).size, 0);
    const before = await page.textContent('.story h3');
    const begin = performance.now();
    await page.setInputFiles('input[type=file]', files);
    await page.waitForFunction((old) => !['', old].includes(document.querySelector('.story h3')?.textContent ?? ''), before, {
      polling: 10,
    });
    const told = performance.now() - begin;
    const frames = await pan(page);
    const used = await memory(page);
    console.log(
      `${folder}: ${(size / 1e6).toFixed(1)} MB, first story ${ms(told)}; frames while panning: median ${ms(frames.median)}, p99 ${ms(frames.p99)}, longest ${ms(frames.longest)}; ${used === undefined ? 'memory not told' : `${used.toFixed(0)} MB of memory`}`,
    );
  }
} finally {
  await context.close();
  server.close();
  server.closeAllConnections();
}
