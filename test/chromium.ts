/** The system's Chromium, headless and without talk of its own: a machine that is cut off from the network refuses that many times over. */
import { mkdtempSync, rm } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium } from 'playwright-core';
import { chromium as executablePath, PATIENCE_MS } from './needs.ts';

/** A browser with a profile of its own, which is gone when the browser is closed. */
export async function openChromium(viewport = { width: 1280, height: 720 }): Promise<BrowserContext> {
  const profile = mkdtempSync(join(tmpdir(), 'xenolith-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    timeout: PATIENCE_MS,
    viewport,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  // Its processes write a while after they were told to end; a folder that stays does no harm.
  context.on('close', () => rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }, () => {}));
  context.setDefaultTimeout(PATIENCE_MS);
  return context;
}
