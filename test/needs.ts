/**
 * What tests need that a machine may not have. Each need is probed once; tests that lack one are skipped, and their
 * titles say why.
 *
 * XENOLITH_WITHOUT takes needs for absent, separated by commas: `XENOLITH_WITHOUT=gcc,xenalyze npm test`. It shows that
 * the tests hold on a machine without them.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import type { GuestImages } from '../src/machine/guest.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';
import { haveCaptures, NO_CAPTURES } from '../src/trace/testing/fixtures.ts';

const root = join(import.meta.dirname, '..');

/** The built command line. */
export const entry = join(root, 'dist/cli/main.js');

/**
 * Milliseconds after which a child process, or something waited for, counts as hung. Far more than any takes on a busy
 * machine: it bounds a hang and decides nothing else. The default of a test's own limit (vitest.config.ts) is longer.
 */
export const PATIENCE_MS = 600_000;

/** Where Debian's chromium package puts the browser. */
export const chromium = '/usr/bin/chromium';

/** A program that answers `argument` with status 0. */
const program =
  (name: string, debianPackage: string, argument = '--version') =>
  (): string =>
    spawnSync(name, [argument], { stdio: 'ignore' }).status === 0 ? '' : `no ${name} (Debian package ${debianPackage})`;

/** gcc that makes programs for this vCPU's architecture: an Arm machine's gcc does not. */
function gcc(...options: string[]): string {
  const reason = program('gcc', 'gcc')();
  if (reason) return reason;
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-gcc-'));
  try {
    const source = join(folder, 'a.c');
    writeFileSync(source, 'void _start(void) { __asm__ volatile("fninit"); }\n');
    const { status } = spawnSync('gcc', [...options, '-ffreestanding', '-nostdlib', '-static', '-o', join(folder, 'a'), source], {
      stdio: 'ignore',
    });
    if (status === 0) return '';
    return options.includes('-m32') ? 'gcc makes no 32-bit programs (Debian package gcc-multilib)' : 'gcc makes no x86 programs';
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Why dist/ is not what src/ would build now, or ''. */
function built(): string {
  const builtAt = existsSync(entry) ? statSync(entry).mtimeMs : 0;
  const sources = readdirSync(join(root, 'src'), { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts') && !file.includes('testing/'));
  return sources.every((file) => statSync(join(root, 'src', file)).mtimeMs <= builtAt)
    ? ''
    : 'dist/ is missing or older than src/ (npm run build)';
}

let images: GuestImages | undefined;
/** The Debian guest, from the cache or built now. */
async function guest(): Promise<string> {
  try {
    images = await buildLinuxGuest();
    return '';
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message;
  }
}

/** Why a need is not met, or ''. */
const probes = {
  x86: () => (process.arch === 'x64' && process.platform === 'linux' ? '' : 'no Linux on an x86-64 processor'),
  gcc: () => gcc(),
  'gcc-m32': () => gcc('-m32'),
  /** 32-bit user mode and the processor's choices are probed in cpu/processor.ts; here they can only be taken away. */
  '32-bit': () => '',
  'same-model': () => '',
  objcopy: program('objcopy', 'binutils'),
  qemu: program('qemu-system-x86_64', 'qemu-system-x86'),
  xenalyze: program('xenalyze', 'xen-utils-common', '--help'),
  tshark: program('tshark', 'tshark'),
  passt: program('passt', 'passt'),
  gdb: program('gdb', 'gdb'),
  iasl: program('iasl', 'acpica-tools', '-v'),
  cpio: program('cpio', 'cpio'),
  bash: program('bash', 'bash'),
  script: () =>
    String(spawnSync('script', ['--version']).stdout).includes('util-linux')
      ? ''
      : 'no script of util-linux to make a terminal (Debian package bsdutils)',
  chromium: () => (existsSync(chromium) ? '' : 'no Chromium (Debian package chromium)'),
  '/dev/full': () => (existsSync('/dev/full') ? '' : 'no /dev/full'),
  /** Captures of a real Xen, beside the clone. */
  captures: () => (haveCaptures ? program('xz', 'xz-utils')() : NO_CAPTURES),
  built,
  guest,
} satisfies Record<string, () => string | Promise<string>>;
export type Need = keyof typeof probes;
export const needs = Object.keys(probes) as readonly Need[];

const without = new Set((process.env['XENOLITH_WITHOUT'] ?? '').split(',').filter((name) => name !== ''));
for (const name of without) {
  if (!(name in probes))
    throw new Error(`XENOLITH_WITHOUT: '${name}' is no need of a test; expected some of ${needs.join(', ')}`);
}

/** Is the need taken for absent by XENOLITH_WITHOUT? Without x86, nothing makes or runs x86 programs for us. */
export const withheld = (need: Need): boolean =>
  without.has(need) || ((need === 'gcc' || need === 'gcc-m32') && (without.has('x86') || without.has('gcc')));

const reasons = new Map<Need, string>();
async function reasonFor(need: Need): Promise<string> {
  let reason = reasons.get(need);
  if (reason === undefined) reasons.set(need, (reason = withheld(need) ? `${need} is withheld` : await probes[need]()));
  return reason;
}

/** What one describe or test lacks. */
export class Lack {
  /** Why it is skipped; '' where all is there. */
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }

  /** For skipIf(). */
  get skip(): boolean {
    return this.reason !== '';
  }

  /** The title, with the reason where there is one. */
  title(text: string): string {
    return this.skip ? `${text} (skipped: ${this.reason})` : text;
  }
}

/** What is lacking of these needs: the first that is not met. */
export async function lackOf(...needs: readonly Need[]): Promise<Lack> {
  for (const need of needs) {
    const reason = await reasonFor(need);
    if (reason) return new Lack(reason);
  }
  return new Lack('');
}

/** The Debian guest's files. Only where `lackOf('guest')` is empty. */
export function guestImages(): GuestImages {
  if (images === undefined) throw new Error('the guest was not asked for with lackOf("guest"), or cannot be had');
  return images;
}

/** Waits until `condition` gives something other than undefined or false, and gives that. */
export async function until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS / 1000} s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
