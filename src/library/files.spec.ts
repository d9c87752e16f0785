/** Files of a run as a page has them: recognised, read, shown as lanes, looked up. */
import { beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { assembleTinyGuest } from '../machine/tiny-guest/image.ts';
import { type FileSet, Machine, OpenFiles, readTimeline, recogniseFile, recogniseFiles, tellStory } from './index-node.ts';
import { exitCosts, frameRows, registerCosts } from './summary.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
let files: Required<Pick<FileSet, 'trace' | 'log' | 'capture' | 'console'>>;

beforeAll(async () => {
  const machine = new Machine({
    kernel: assembleTinyGuest(),
    commandLine: 'ping=3',
    memory: 8,
    placement: 'here',
    records: { trace: true, log: true, capture: true },
  });
  await machine.run();
  await machine.ended;
  const { trace, log, capture, console } = await machine.records();
  const blob = (part: Uint8Array | string): Blob => new Blob([part as BlobPart]);
  files = { trace: blob(trace), log: blob(log), capture: blob(capture), console: blob(console) };
});

describe('files', () => {
  it('are known by their content, whatever they are called', async () => {
    const set = await recogniseFiles(Object.values(files).map((blob, i) => ({ name: `${i}`, blob })));
    expect([set.trace, set.log, set.capture, set.console]).toEqual([files.trace, files.log, files.capture, files.console]);
    expect(recogniseFile(text('From: a\nSubject: b\n\n1@2.3:cpu_ioreq_move I/O=1\n'))).toBe('text');
    expect(recogniseFile(Uint8Array.of(1, 2, 3, 0))).toBe('unknown');
    await expect(recogniseFiles([{ name: 'x', blob: new Blob([]) }])).rejects.toThrow('x is empty');
    await expect(recogniseFiles([{ name: 'x', blob: new Blob([Uint8Array.of(0, 0)]) }])).rejects.toThrow(UserError);
    const twice = { name: 'again', blob: files.log };
    await expect(recogniseFiles([twice, twice])).rejects.toThrow('again is a second log');
  });

  it('tell stories whose evidence lies where it says', async () => {
    const open = await OpenFiles.open(files);
    const analysis = await open.analysis();
    const story = tellStory(analysis, { packet: 3 });
    const refs = story.hops.flatMap((hop) => hop.refs);
    for (const ref of refs) expect(await open.place(ref)).toBeDefined();
    const first = await open.place(story.hops[0]!.refs[0]!);
    expect(first).toMatchObject({ kind: 'record', decoded: { kind: 'vmexit', reasonName: 'EPT_VIOLATION' } });
    const line = refs.find(({ file }) => file === 'dm-log')!;
    const lines = (await files.log.text()).split('\n');
    expect(await open.place(line)).toEqual({ kind: 'line', number: line.at, text: lines[line.at - 1] });
    const frame = await open.place({ file: 'pcap', unit: 'frame', at: 3 });
    expect(frame).toMatchObject({ kind: 'frame', number: 3 });
    for (const at of [-4, 2 ** 40]) expect(await open.place({ file: 'trace', unit: 'offset', at })).toBeUndefined();
    expect(await open.place({ file: 'dm-log', unit: 'line', at: 10_000_000 })).toBeUndefined();
  });

  it('show who ran when, and the exits between, in order and without gaps that are not there', async () => {
    const open = await OpenFiles.open(files);
    const timeline = await readTimeline(open.trace!);
    expect(timeline.lanes.map(({ name }) => name)).toEqual(['d0v0', 'd1v0', 'd1v0 in Xen', 'd1v0 interrupts']);
    for (const { start, end, offset } of timeline.lanes) {
      expect(start.length).toBeGreaterThan(0);
      for (let i = 0; i < start.length; i++) {
        expect(end[i]).toBeGreaterThanOrEqual(start[i]!);
        if (i > 0) expect(start[i]).toBeGreaterThanOrEqual(start[i - 1]!);
        expect(offset[i]).toBeGreaterThanOrEqual(0);
      }
    }
    expect(timeline.cut).toBe(false);
    const exits = exitCosts(timeline);
    expect(exits.reduce((sum, { count }) => sum + count, 0)).toBe(timeline.lanes[2]!.start.length);
    expect(exits[0]!.total).toBeGreaterThanOrEqual(exits[1]!.total);
  });

  it('give tables of frames and of what registers cost', async () => {
    const analysis = await (await OpenFiles.open(files)).analysis();
    const frames = frameRows(analysis);
    expect(frames.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(frames[2]!.what).toContain('ICMP echo request');
    expect(frames.every(({ ns }, i) => i === 0 || ns! >= frames[i - 1]!.ns!)).toBe(true);
    const doorbell = registerCosts(analysis).find(({ register }) => register.includes('TxPoll'))!;
    expect([doorbell.write, doorbell.count]).toEqual([true, 4]);
  });
});
