import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { failureText } from './failure.ts';
import { registerRun } from './run.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-run-'));
  writeFileSync(join(dir, 'noise'), 'no kernel at all');
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Runs `xenolith run …` in this process; `@name` is a file of the test's folder. */
const run = (...args: string[]): Promise<unknown> => {
  const program = new Command('xenolith').exitOverride().configureOutput({ writeErr() {} });
  registerRun(program);
  return program.parseAsync(['run', ...args.map((a) => (a.startsWith('@') ? join(dir, a.slice(1)) : a))], { from: 'user' });
};

describe('xenolith run', () => {
  it.each([
    [['@none'], /none: no such file; expected a guest configuration/],
    [['@.'], /: a directory; expected a guest configuration/],
    [['@noise'], /noise:1: /],
    [['--kernel', '@none'], /none: no such file; expected the guest's kernel/],
    [['--kernel', '@.'], /: a directory; expected the guest's kernel/],
    [['--kernel', '@noise'], /not a kernel image; expected an ELF image .*, a bzImage/],
    [['--initrd', '@noise'], /--initrd: it goes with a kernel of your own/],
    [['-e', 'loud', '--trace', '@trace'], /-e loud: expected a 32-bit number or one of all, gen/],
    [['-e', '0x1ffffffff'], /-e 0x1ffffffff: expected a 32-bit number/],
    [['-e', 'hvm'], /-e: it is the mask of a trace/],
    [['--story'], /--story needs --trace, --dm-log and --pcap/],
    [['--memory', 'much'], /expected a whole number/],
    [['--clock', 'sun'], /expected virtual or host/],
    [['--device-model', 'worker', '--clock', 'virtual'], /--device-model worker/],
  ])('%j: one line that says what was expected', async (args, message) => {
    await expect(run(...args)).rejects.toThrow(message);
  });
});

describe('what a command prints of an error', () => {
  it('is one line for what a user can mend, and a stack trace for the rest or when asked for', () => {
    const refused = Object.assign(new Error('EACCES: permission denied, open x'), { code: 'EACCES', syscall: 'open' });
    expect(failureText(refused, 'xenolith')).toBe('xenolith: EACCES: permission denied, open x');
    expect(failureText(new UserError('x: no such file'), 'xenolith')).toBe('xenolith: x: no such file');
    expect(failureText(new UserError('a\nb\x1b[2Jc: no such file'), 'xenolith')).toBe('xenolith: a\\x0ab\\x1b[2Jc: no such file');
    expect(failureText(new UserError('x: no such file'), 'xenolith', true)).toMatch(/x: no such file\n +at /);
    expect(failureText(new TypeError('a fault'), 'xenolith')).toMatch(/a fault\n +at /);
  });
});
