import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Captures of a real Xen 4.17; they lie in shared/fixtures beside the clone, and are not part of it. */
export const CAPTURES = ['rtl8139-8139cp-ping', 'rtl8139-8139too-ping', 'lost-records'] as const;
export type Capture = (typeof CAPTURES)[number];
/** With the capture whose trace is kept in part. */
export type Fixture = Capture | 'e1000-ping';

const root = resolve(import.meta.dirname, '../../..');
const folder = ['../shared', '../../shared'].map((p) => join(root, p, 'fixtures/xen')).find((p) => existsSync(p));

export const haveCaptures = folder !== undefined;
export const NO_CAPTURES = 'no captures: ../shared/fixtures/xen is absent';

/** A file of a capture, decompressed. */
export function captureFile(capture: Fixture, name: string): Uint8Array {
  const path = join(folder!, capture, name);
  if (existsSync(path)) return readFileSync(path);
  return execFileSync('xz', ['-dc', `${path}.xz`], { maxBuffer: 1 << 28 });
}

/** TSC rate the captures' own xenalyze output was made with. */
export const CAPTURE_HZ: Record<Capture, string> = {
  'rtl8139-8139cp-ping': '2596090000',
  'rtl8139-8139too-ping': '2596106000',
  'lost-records': '2596094000',
};
