import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { ConsoleText } from './console.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('the console as text', () => {
  it('answers waits in the text, each behind the one before', async () => {
    const console = new ConsoleText();
    console.add(bytes('login: log'));
    expect(await console.waitFor('log')).toBe('log');
    const second = console.waitFor(/in: (\w+)/);
    console.add(bytes('in: '));
    expect(await second).toBe('in: log');
    const third = console.waitFor('€');
    for (const byte of bytes('a€')) console.add(Uint8Array.of(byte));
    expect(await third).toBe('in: a€');
  });

  it('tells who waits in vain', async () => {
    const console = new ConsoleText();
    const waits = console.waitFor('never');
    console.end(new Error('the machine ended'));
    await expect(waits).rejects.toThrow('the machine ended');
    await expect(console.waitFor('never')).rejects.toThrow('the machine ended');
    await expect(new ConsoleText().waitFor('never', 1)).rejects.toThrow('waited 1 ms for never on the console in vain');
  });

  it('keeps the last million characters of an endless console', async () => {
    const console = new ConsoleText();
    for (let i = 0; i < 40; i++) console.add(bytes(`${'x'.repeat(100_000)}${i};`));
    expect(console.all.length).toBeLessThan(2_200_000);
    expect(await console.waitFor('39;')).toContain('39;');
  });

  it.each([
    ['true', '', 0],
    ['exit_status() { return 7; }; exit_status', '', 7],
    [`echo "it's"; echo b >&2; false`, "it's\nb\n", 1],
    ['echo one # and no more', 'one\n', 0],
    [`printf '\\036'`, '\x1e', 0],
  ])('reads what a shell gives for %s', (line, output, status) => {
    const { input, end, result } = new ConsoleText().command(line);
    // A terminal echoes what is typed.
    const { stdout } = spawnSync('sh', ['-c', input], { encoding: 'latin1' });
    const text = end.exec(`~ # ${input}${stdout.replaceAll('\n', '\r\n')}~ # `)![0];
    expect(result(text)).toEqual({ output, status });
  });

  it('refuses what no shell takes as one line', () => {
    expect(() => new ConsoleText().command('x'.repeat(901))).toThrow(/901 characters/);
    expect(() => new ConsoleText().command('a\nb')).toThrow(/line end/);
  });
});
