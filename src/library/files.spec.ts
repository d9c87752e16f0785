/** Files of a run as a page has them: recognised, read, shown as lanes, looked up. */
import { beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { assembleTinyGuest } from '../machine/tiny-guest/image.ts';
import { unpackArchive } from '../machine/archive.ts';
import {
  exportFiles,
  type FileSet,
  Machine,
  OpenFiles,
  parseRef,
  readTimeline,
  recogniseFile,
  recogniseFiles,
  tellStory,
  withAccesses,
} from './index-node.ts';
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
    expect(await open.place(line)).toEqual({
      kind: 'line',
      number: line.at,
      text: lines[line.at - 1],
      before: lines.slice(line.at - 7, line.at - 1),
      after: lines.slice(line.at, line.at + 6),
    });
    const frame = await open.place({ file: 'pcap', unit: 'frame', at: 3 });
    expect(frame).toMatchObject({ kind: 'frame', number: 3 });
    for (const at of [-4, 2 ** 40]) expect(await open.place({ file: 'trace', unit: 'offset', at })).toBeUndefined();
    expect(await open.place({ file: 'dm-log', unit: 'line', at: 10_000_000 })).toBeUndefined();
  });

  it('show who ran when, and the exits between, in order and without gaps that are not there', async () => {
    const open = await OpenFiles.open(files);
    const timeline = await readTimeline(open.trace!);
    expect(timeline.lanes.map(({ name }) => name)).toEqual(['pCPU 0', 'd0v0', 'd1v0', 'd1v0 in Xen', 'd1v0 interrupts']);
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
    expect(exits.reduce((sum, { count }) => sum + count, 0)).toBe(
      timeline.lanes.find(({ kind }) => kind === 'xen')!.start.length,
    );
    expect(exits[0]!.total).toBeGreaterThanOrEqual(exits[1]!.total);
  });

  it('show the registers as the accesses up to a moment do, and find what holds a text', async () => {
    const open = await OpenFiles.open(files);
    const analysis = await open.analysis();
    const timeline = withAccesses(await readTimeline(open.trace!), analysis);
    const accesses = timeline.lanes.find(({ kind }) => kind === 'access')!;
    const doorbell = accesses.labels.indexOf('write TxPoll');
    const first = accesses.label.indexOf(doorbell);
    const at = async (ns: number) => (await open.registersAt(ns)).find(({ name }) => name === 'TxPoll');
    expect(await at(accesses.start[first]! - 1)).toBe(undefined);
    expect(await at(accesses.end[first]!)).toMatchObject({ device: 'rtl8139', value: 0x40, dir: 'write' });
    expect((await open.registersAt(-1)).length).toBe(0);
    const hits = await open.search('txpoll');
    expect(hits.some(({ ref }) => ref.file === 'trace')).toBe(true);
    for (const { ref } of hits) expect(await open.place(ref)).toBeDefined();
    expect((await open.search('echo request')).filter(({ ref }) => ref.unit === 'frame')).toHaveLength(3);
    expect(await open.search(' ')).toEqual([]);
    expect(await open.search('log:2')).toEqual([{ what: 'log:2', ref: { file: 'dm-log', unit: 'line', at: 2 }, ns: undefined }]);
    expect(parseRef('trace+0x2a')).toEqual({ file: 'trace', unit: 'offset', at: 42 });
    for (const text of ['', 'trace:1', 'log#3', 'pcap+0x1', 'pcap#', 'log:1 ', 'option']) expect(parseRef(text)).toBe(undefined);
  });

  it('go out in the forms of other tools', async () => {
    const open = await OpenFiles.open(files);
    expect((await exportFiles(open, 'perfetto')).size).toBeGreaterThan(10_000);
    const rows = (await (await exportFiles(open, 'io')).text()).trimEnd().split('\n');
    expect(rows[0]).toContain('register');
    expect(rows.length).toBeGreaterThan(500);
    const { capture: _capture, ...rest } = files;
    await expect(exportFiles(await OpenFiles.open(rest), 'pcapng')).rejects.toThrow(UserError);
    const told = await OpenFiles.open({ ...files, capture: await exportFiles(open, 'pcapng') });
    expect((await told.analysis()).frames).toHaveLength(8);
  });

  it('come out of archives, within bounds', async () => {
    const entry = (name: string, bytes: Uint8Array): Uint8Array => {
      const header = new Uint8Array(512);
      const put = (value: string, at: number): void => header.set(text(value), at);
      put(name, 0);
      put('0000644\0', 100);
      put(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
      put('        ', 148);
      put('0', 156);
      put('ustar\u000000', 257);
      put(
        `${header
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, '0')}\0 `,
        148,
      );
      const body = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
      body.set(bytes);
      return Uint8Array.from([...header, ...body]);
    };
    const log = new Uint8Array(await files.log.arrayBuffer()).subarray(0, 5000);
    const capture = new Uint8Array(await files.capture.arrayBuffer());
    const tar = new Blob([
      entry('run/a', log),
      entry('run/b', capture),
      entry('run/readme', text('words\n')),
      new Uint8Array(1024),
    ] as BlobPart[]);
    const set = await recogniseFiles([{ name: 'run.tar', blob: tar }]);
    expect(Object.keys(set).sort()).toEqual(['capture', 'log']);
    expect(new Uint8Array(await set.capture!.arrayBuffer())).toEqual(capture);
    const packed = await new Response(tar.stream().pipeThrough(new CompressionStream('gzip'))).blob();
    expect(Object.keys(await recogniseFiles([{ name: 'run.tar.gz', blob: packed }])).sort()).toEqual(['capture', 'log']);
    await expect(recogniseFiles([{ name: 'bad.gz', blob: packed.slice(0, 100) }])).rejects.toThrow(/^bad.gz: /);
    const bytes = new Uint8Array(await tar.arrayBuffer());
    await expect(unpackArchive(bytes, 'run.tar', 1000)).rejects.toThrow('run.tar: unpacks to more than 1000 bytes');
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
