// Makes docs/page.png, the picture of the page in README: the built page, in the system's Chromium, with the tiny guest's first echo
// request told. `npm run build && npm run build:page` first.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { chromium } from 'playwright-core';
import { servePage } from '../dist/cli/page-server.js';

const root = resolve(import.meta.dirname, '..');
const picture = join(root, 'docs/page.png');
const MOST_BYTES = 300_000;

const profile = mkdtempSync(join(tmpdir(), 'xenolith-picture-'));
const { server, url } = await servePage(join(root, 'dist/page'), '127.0.0.1', 0);
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1400, height: 1000 },
  colorScheme: 'light',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run'],
});
try {
  context.setDefaultTimeout(300_000);
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForSelector('.hops li');
  await page.waitForSelector('.moment');
  await page.click('.hops li:nth-child(2) .step');
  await page.waitForSelector('.bytes h3');
  await page.waitForTimeout(500);
  await page.screenshot({ path: picture });
} finally {
  await context.close();
  server.close();
  server.closeAllConnections();
  rmSync(profile, { recursive: true, force: true });
}
const { size } = statSync(picture);
console.log(`${picture}: ${size} bytes`);
if (size > MOST_BYTES) {
  console.error(`the picture is larger than ${MOST_BYTES} bytes; make the window smaller`);
  process.exit(1);
}
