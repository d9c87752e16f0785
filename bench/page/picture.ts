// Makes docs/page.png, the picture of the page in README: the built page, in the system's Chromium, with the tiny guest's first echo
// request told. `npm run build:page` first, then `npm run page:picture`.
import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { servePage } from '../../src/cli/page-server.ts';
import { openChromium } from '../../test/chromium.ts';

const root = resolve(import.meta.dirname, '../..');
const picture = join(root, 'docs/page.png');
const MOST_BYTES = 300_000;

const { server, url } = await servePage(join(root, 'dist/page'), '127.0.0.1', 0);
const context = await openChromium({ width: 1400, height: 1000 });
try {
  context.setDefaultTimeout(300_000);
  const page = await context.newPage();
  await page.emulateMedia({ colorScheme: 'light' });
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
}
const { size } = statSync(picture);
console.log(`${picture}: ${size} bytes`);
if (size > MOST_BYTES) {
  console.error(`the picture is larger than ${MOST_BYTES} bytes; make the window smaller`);
  process.exit(1);
}
