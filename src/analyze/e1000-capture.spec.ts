/** The capture of a real Xen 4.17 whose guest has an e1000: 49 MB of trace, 2.4 million records; its log has no lines of the chip. */
import { beforeAll, describe, expect, it } from 'vitest';
import { lackOf } from '../../test/needs.ts';
import { openTrace } from '../trace/index.ts';
import { captureFile } from '../trace/testing/fixtures.ts';
import { analyze, theGuest, type Analysis } from './join/analysis.ts';
import { ioPaths, registerNames, type IoPath } from './join/path.ts';
import { describeFrame } from './sources/ethernet.ts';
import { tellStory } from './tell/story.ts';
import { renderStory } from './tell/story-text.ts';

const lack = await lackOf('captures');
const text = (name: string): string[] => Buffer.from(captureFile('e1000-ping', name)).toString('utf8').split('\n');

describe.skipIf(lack.skip)(lack.title('the whole capture of a guest with an e1000'), () => {
  let a: Analysis;
  let nic: IoPath[];
  beforeAll(async () => {
    a = await analyze({
      trace: await openTrace(Uint8Array.from(captureFile('e1000-ping', 'trace.bin'))),
      dmLog: text('qemu-dm.log'),
      pcap: captureFile('e1000-ping', 'bridge.pcap'),
      console: text('serial.log'),
    });
    nic = [...ioPaths(a)].filter((p) => p.window?.chip.name === 'e1000');
  });

  it('every access to the NIC has its register named', async () => {
    expect(nic.filter((p) => p.registers.length === 0).map((p) => p.access.addr)).toEqual([]);
    const counts = new Map<string, number>();
    for (const p of nic) {
      const key = `${registerNames(p)!.replaceAll(/\[\d+\]/g, '[n]')} ${p.access.dir}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const rows = [...counts].sort(([x], [y]) => (x < y ? -1 : 1)).map(([key, count]) => `${key} ${count}`);
    await expect(`${rows.join('\n')}\n`).toMatchFileSnapshot('./testing/golden/e1000-registers.txt');
  });

  it('every access to the NIC is paired with the request of the log, one to one', () => {
    expect(nic.filter((p) => p.request === undefined)).toEqual([]);
    expect(
      nic.every(
        ({ access, request }) =>
          request!.request.addr === access.addr && request!.data === access.data && request!.dir === access.dir,
      ),
    ).toBe(true);
    expect(new Set(nic.map((p) => p.request)).size).toBe(nic.length);
    expect(theGuest(a).pairing!.unpairedAccesses).toEqual([]);
  });

  const echo = () => a.frames.filter((f) => describeFrame(f.data).startsWith('ICMP echo request'));

  it('has three echo requests', () => expect(echo().map((f) => f.number)).toEqual([3, 5, 7]));

  // Each line was checked by hand against the records, log lines and frames that it names.
  it.each([3, 5, 7])('tells echo request %i: doorbell, ioreq, ring, frame, time', async (packet) => {
    const story = tellStory(a, { packet });
    expect(story.title).toContain('sent through an emulated e1000');
    await expect(renderStory(story, { evidence: 'full' })).toMatchFileSnapshot(`./testing/golden/e1000-echo-${packet}.txt`);
  });
});
