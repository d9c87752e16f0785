import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { excerpt, mail } from '../analyze/testing/excerpts.ts';
import { registerTraceIo } from './trace-io.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-io-'));
  const { trace, log, pcap } = excerpt('8139cp');
  for (const [name, data] of [
    ['trace.txt', trace],
    ['dm.log', log!],
    ['net.pcap', pcap!],
    ['mail.txt', mail()],
    ['empty', ''],
  ] as const)
    writeFileSync(join(dir, name), data);
});
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

/** Runs `xenolith trace …` in this process; `@name` is a file of the test's folder. */
async function run(...args: string[]): Promise<string> {
  let out = '';
  const take = (text: unknown): boolean => {
    out += String(text);
    return true;
  };
  vi.spyOn(process.stdout, 'write').mockImplementation(take);
  vi.spyOn(console, 'log').mockImplementation((text: unknown) => void take(`${String(text)}\n`));
  const program = new Command('xenolith').exitOverride();
  registerTraceIo(program);
  await program.parseAsync(['trace', ...args.map((a) => (a.startsWith('@') ? join(dir, a.slice(1)) : a))], { from: 'user' });
  return out;
}

const FILES = ['@trace.txt', '--dm-log', '@dm.log', '--pcap', '@net.pcap'];

describe('xenolith trace io', () => {
  it('prints a row an access, the cost table and how the files were joined', async () => {
    const out = await run('io', ...FILES);
    expect(out.split('\n').filter((l) => l.includes('W TxPoll <- 0x40 NPQ'))).toHaveLength(2);
    expect(out).toMatch(/rtl8139 +TxPoll +write +sync +2 /);
    expect(out).toContain('18 of 18 accesses paired with 19 requests of the log');
    expect(out).toContain('capture: 2 frames, 2 with their doorbell');
  });

  it('filters by chip, register, vCPU and time', async () => {
    const rows = (out: string): number => out.split('\n').filter((l) => / d1v0 /.test(l)).length;
    expect(rows(await run('io', ...FILES))).toBe(18);
    expect(rows(await run('io', ...FILES, '--register', 'intrstatus'))).toBe(4);
    expect(rows(await run('io', ...FILES, '--chip', 'rtl8139', '--from', '6.7'))).toBe(4);
    expect(rows(await run('io', ...FILES, '--to', '6.0', '--register', 'TxRingAddr'))).toBe(1);
    await expect(run('io', ...FILES, '--vcpu', 'd2v0')).rejects.toThrow(
      'no access matches --vcpu d2v0; the files hold accesses of rtl8139',
    );
  });

  it('--json gives an object a line', async () => {
    const objects = (await run('io', ...FILES, '--json'))
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l) as Record<string, unknown>);
    const doorbell = objects.filter((o) => o.kind === 'io').at(-4)!;
    expect(doorbell).toMatchObject({
      vcpu: 'd1v0',
      rip: '0xffffffffc0208e58',
      dir: 'write',
      address: '0xf10000d9',
      data: '0x40',
      width: { value: 1, strength: 'proven' },
      device: { name: 'rtl8139' },
      registers: [{ name: 'TxPoll', fields: 'NPQ' }],
      route: { value: 'synchronous ioreq', strength: 'proven' },
      deviceModel: 'd0v0',
      frames: [{ value: { number: 2, length: 90 } }],
      interrupt: { value: { vector: '0xf3' }, strength: 'inferred' },
      lost: null,
    });
    expect(objects.filter((o) => o.kind === 'clock')).toHaveLength(1);
    expect(objects.filter((o) => o.kind === 'unpaired request')).toHaveLength(1);
    expect(objects.filter((o) => o.kind === 'cost').length).toBeGreaterThan(5);
  });

  it.each([
    [['io'], /no file given/],
    [['io', '@none'], /cannot read .*none: no such file/],
    [['io', '@empty'], /empty is empty: expected an xentrace file/],
    [
      ['io', '@trace.txt', '--chip', 'rtl8139'],
      /no known chip was found in the files; give its base address with --device rtl8139@BASE/,
    ],
    [['io', '@trace.txt', '--device', 'e1001@1'], /--device e1001@1: expected CHIP@BASE/],
    [['io', '@trace.txt', '--vcpu', '1'], /--vcpu 1: expected a domain and a vCPU/],
    [['io', '@trace.txt', '--from', 'x'], /--from x: expected seconds/],
    [['io', '@trace.txt', '--dm-log', '@net.pcap'], /a pcap capture; expected a device-model log, so give it with --pcap/],
    [['io', '@trace.txt', '--pcap', '@dm.log'], /a device-model log; expected a capture/],
    [['explain', '@trace.txt', '--packet', '0'], /--packet 0: expected a number from 1 on/],
    [['explain', '@trace.txt', '--clock', 'wrong'], /--clock wrong: expected measured or modelled/],
  ])('%j is refused in one line', async (args, message) => {
    const error = await run(...args).then(
      () => undefined,
      (e: unknown) => e as Error,
    );
    expect(error?.name).toBe('UserError');
    expect(error?.message).toMatch(message);
    expect(error?.message).not.toContain('\n');
  });
});

describe('xenolith trace explain', () => {
  it('tells the story, as text and as JSON', async () => {
    expect(await run('explain', ...FILES, '--packet', '2')).toContain('fetches the frame from guest-physical 0x62d6802');
    const story = JSON.parse(await run('explain', ...FILES, '--at', '6.63', '--json')) as { title: string; hops: unknown[] };
    expect(story.title).toContain('Packet 1 of the capture');
    expect(story.hops.length).toBeGreaterThan(10);
  });

  it('reads a mail as it is', async () => {
    expect(await run('explain', '@mail.txt')).toContain('The frame lay at 0xead20802');
  });
});
