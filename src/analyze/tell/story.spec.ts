import { describe, expect, it } from 'vitest';
import { analyze } from '../join/analysis.ts';
import { ioPaths } from '../join/path.ts';
import { explainFiles } from './story.ts';
import type { Story } from './story-model.ts';
import { renderStory } from './story-text.ts';
import { excerpt, inputOf, mail, type Excerpt } from '../testing/excerpts.ts';

const golden = (name: string): string => `./testing/golden/${name}.txt`;
const tell = (e: Excerpt, packet?: number): Promise<Story> => explainFiles({ ...inputOf(e), packet });
const tellMail = (text: string): Promise<Story> => explainFiles({ text: text.split('\n') });
const textOf = (story: Story): string => renderStory(story, { width: 10_000, evidence: 'full' });

/** A change that must find its place, or the test would test nothing. */
function change(text: string, from: string | RegExp, to: string): string {
  const changed = text.replace(from, to);
  expect(changed, `nothing to change for ${String(from)}`).not.toBe(text);
  return changed;
}

/** Lines of the excerpt's doorbell: the last write of 0x40 to 0xf10000d9. */
const DOORBELL = ']  6.763271272 -x d1v0 mmio_assist w gpa f10000d9 data 40';
const LOST = '   6.770000000 x- d0v0 lost_records count 40 d0v0 (cur d0v0) first_tsc 504404278315';

describe('golden stories', () => {
  it('the mail', async () => {
    await expect(renderStory(await tellMail(mail()))).toMatchFileSnapshot(golden('mail'));
  });

  it('8139cp, from text', async () => {
    await expect(renderStory(await tell(excerpt('8139cp'), 2))).toMatchFileSnapshot(golden('8139cp-excerpt'));
  });

  it('8139too, from text', async () => {
    await expect(renderStory(await tell(excerpt('8139too'), 2))).toMatchFileSnapshot(golden('8139too-excerpt'));
  });
});

describe('the mail', () => {
  it('answers both questions and corrects its author', async () => {
    const text = textOf(await tellMail(mail()));
    expect(text).toContain(
      'Through the synchronous ioreq page ("shared memory page"), not the buffered one, for the write of TxRingAddr: the device model logged the request, and a buffered slot has 20 address bits (up to 0xfffff) and 0xf2051020 does not fit',
    );
    expect(text).toContain(
      '0xd4e6c400 is not the address of the frame: in C+ mode TxRingAddr is the base of the descriptor ring. The frame lay at 0xead20802, the third word of the descriptor.',
    );
    expect(text).toContain(
      'The driver knows only guest-physical addresses: it wrote 0xd4e6c400 into TxRingAddr, and the device model looked for descriptor 0 at 0xd4e6c400, unchanged.',
    );
    expect(text).toContain('the files hold no hypercall records');
  });

  it('follows an address that may be buffered', async () => {
    const text = textOf(await tellMail(change(mail(), /f2051020/g, 'a0020')));
    expect(text).toContain(
      'Through the buffered ioreq page, for the write of TxRingAddr: a write at 0xa0020, at or below 0xfffff, may be buffered and no wait is recorded; a missing wait alone proves nothing. (inferred)',
    );
    expect(text).not.toContain('Through the synchronous');
  });

  it('does not pair a request with other data', async () => {
    const text = textOf(await tellMail(change(mail(), 'data: d4e6c400, count', 'data: d4e6c410, count')));
    expect(text).toContain('has no log line that pairs with this access: its work is unknown.');
    expect(text).toContain('(strong)');
    expect(text).toContain('Trace and log pair 0 of 1 access');
  });

  it('takes the buffer from where the chip says it read, and knows none where it does not', async () => {
    expect(textOf(await tellMail(change(mail(), /ead20802/g, 'ead21902')))).toContain('The frame lay at 0xead21902');
    const without = change(change(mail(), /.*transmit reading 90 bytes.*\n/, ''), /.*C\+ mode TX descriptor 0 b000.*\n/, '');
    expect(textOf(await tellMail(without))).not.toContain('The frame lay at');
  });

  it('reads C mode where the chip says nothing of C+', async () => {
    await expect(tellMail(change(mail(), /.*C\+.*\n/g, ''))).rejects.toThrow(
      /no transmission of domain 3 in the files: rtl8139 at 0xf2051000 is known/,
    );
  });
});

describe('8139cp', () => {
  it('without the wait: the log and the address still decide', async () => {
    const e = excerpt('8139cp');
    const lines = e.trace.split('\n');
    const wait = lines.findIndex((l, i) => i > lines.indexOf(DOORBELL) && l.includes('d1v0 running->offline'));
    e.trace = lines.filter((_, i) => i !== wait).join('\n');
    const text = textOf(await tell(e, 2));
    expect(text).toContain('for the TxPoll write: the device model logged the request');
    expect(text).toContain('no wait is recorded, which alone would prove nothing');
    expect(text).toContain('Whether the vCPU waited: there is no running→offline record between exit and entry.');
  });

  it('without the log: the wait decides, and what the device model did is unknown', async () => {
    const e = { ...excerpt('8139cp'), log: undefined, pcap: undefined };
    const story = await explainFiles({ ...inputOf(e), devices: ['rtl8139@f1000000'], packet: 2 });
    const text = textOf(story);
    expect(text).toContain(
      'the vCPU went offline until another domain woke it: Xen waits so only for an answer on the synchronous page',
    );
    expect(story.route[0]!.strength).toBe('strong');
    expect(text).toContain('What the device model did: no log of it was given.');
    expect(story.addresses.find((r) => r.what === 'frame buffer')!.gpa.strength).toBe('unknown');
  });

  it('without log, wait and wake-up: unknown', async () => {
    const e = { ...excerpt('8139cp'), log: undefined, pcap: undefined };
    e.trace = change(e.trace, /.*(running->offline|offline->runnable|blocked->runnable).*\n/g, '');
    const story = await explainFiles({ ...inputOf(e), devices: ['rtl8139@f1000000'], packet: 2 });
    expect(story.route[0]).toMatchObject({ strength: 'unknown' });
    expect(story.route[0]!.text).toContain(
      'Which way the TxPoll write went: unknown (neither a wait nor a wake-up is recorded, and no device-model log was given)',
    );
  });

  it('records lost in the middle: what is missing is unknown', async () => {
    const e = excerpt('8139cp');
    e.trace = change(e.trace, /\n {3}6\.77[^]*?\n(?= {3}6\.78)/, `\n${LOST}\n`);
    const text = textOf(await tell(e, 2));
    expect(text).toContain('40 records of pCPU 0 are lost here: the missing part below is unknown.');
    expect(text).toContain(
      'Whether a hypercall fell into this request is unknown: records are lost, or the trace ends inside it.',
    );
    expect(text).toContain('Through the synchronous ioreq page'); // the log line and the address do not need the lost records
    const lost = [...ioPaths(await analyze(inputOf(e)))].filter((p) => p.access.lost !== undefined);
    expect(lost.map((p) => p.access.addr)).toContain(0xf10000d9);
    for (const p of lost) expect(Object.values(p.stages).every((s) => s === undefined)).toBe(true);
    const noLog = textOf(
      await explainFiles({ ...inputOf({ ...e, log: undefined, pcap: undefined }), devices: ['rtl8139@f1000000'], packet: 2 }),
    );
    expect(noLog).toContain('Which way the TxPoll write went: unknown (records were lost between');
  });

  it('a moved log line is not taken for the doorbell', async () => {
    const e = excerpt('8139cp');
    const block = /152@1795363987\.6335[^]*?(?=152@1795363987\.641639)/.exec(e.log!)![0];
    e.log = block + change(e.log!, block, '');
    const text = textOf(await explainFiles({ ...inputOf({ ...e, pcap: undefined }), packet: 3 }));
    expect(text).toContain('has no log line that pairs with this access: its work is unknown.');
    expect(text).toContain('unpaired: 1 access (no request with equal address, direction and data in this order)');
  });

  it('an address in the VGA hole changes the answer', async () => {
    const e = { ...excerpt('8139cp'), log: undefined, pcap: undefined };
    e.trace = change(change(e.trace, /f10000/g, '000a00'), /.*(running->offline|offline->runnable).*\n/g, '');
    const text = textOf(await explainFiles({ ...inputOf(e), devices: ['rtl8139@a0000'], packet: 2 }));
    expect(text).toContain(
      'Through the buffered ioreq page, for the TxPoll write: a write at 0xa00d9, at or below 0xfffff, may be buffered and no wait is recorded; a missing wait alone proves nothing.',
    );
  });

  it('a logged remap proves the miss; a mapping call leaves the question open', async () => {
    const e = excerpt('8139cp');
    e.log = change(e.log!, '152@1795363987.636', '152@1795363987.636000:xen_remap_bucket index 0x62\n152@1795363987.636');
    const hit = textOf(await tell(excerpt('8139cp'), 2));
    expect(hit).toContain('none of them one that maps memory');
    const busy = excerpt('8139cp');
    busy.trace = change(
      busy.trace,
      '   6.769506466',
      '   6.768000000 x- d0v0 hypercall  1 (mmu_update) 3 updates\n   6.769506466',
    );
    expect(textOf(await tell(busy, 2))).toContain(
      'Between exit and entry dom0 made 1 mmu_update: whether one of them mapped guest frames is unknown',
    );
    expect(textOf(await tell(e, 2))).toMatch(/was not in the map cache: the device model logs a remap of bucket 0x62/);
  });

  it('a frame captured at another time is not the one that left', async () => {
    const e = excerpt('8139cp');
    const at = Buffer.from(e.pcap!).indexOf(Buffer.from([0xe4, 0xb7, 0x09, 0x00])); // 636,900 µs, little-endian
    expect(at).toBeGreaterThan(0);
    e.pcap![at + 2] = 0x0e;
    const story = await explainFiles({ ...inputOf(e), packet: 2 });
    expect(story.title).toContain('sent or received');
    expect(story.subject[0]).toMatchObject({
      strength: 'unknown',
      text: expect.stringContaining("no file gives the guest's station address") as string,
    });
  });

  it('where the time went: stages, the other doorbells, the longest pause; unknown where a record is missing', async () => {
    const story = await tell(excerpt('8139cp'), 2);
    const time = story.time.map((s) => s.text);
    expect(time[0]).toBe(
      "Of 8012.3 µs from exit to entry: 127.6 µs (2%) in Xen, which decodes the access and fills the ioreq; 365.6 µs (5%) until the device model's vCPU ran; " +
        "5898.7 µs (74%) with the device model; 1244.3 µs (16%) until the guest's vCPU ran again; 376.1 µs (5%) in Xen again, up to the VM entry.",
    );
    expect(time[1]).toBe('The other write of this register took 4366.1 µs.');
    const late = excerpt('8139cp');
    // The answer for the frame's page comes a second later in the log: then that is the longest pause.
    const at = /^.*xen_map_cache_return 0x7fa5775a8802$/m.exec(late.log!)![0];
    late.log = change(
      late.log!,
      at,
      at.replace(/(\d+)\.(\d{6})/, (_, s: string, us: string) => `${Number(s) + 1}.${us}`),
    );
    expect((await tell(late, 2)).time.at(-1)!.text).toContain(
      "lies between the question where the frame is mapped and the map cache's answer for the frame",
    );
    const noEntry = excerpt('8139cp');
    const lines = noEntry.trace.split('\n');
    const entry = lines.findIndex((l, i) => i > lines.indexOf(DOORBELL) && / d1v0 vmentry/.test(l));
    noEntry.trace = lines.filter((_, i) => i !== entry).join('\n');
    expect((await tell(noEntry, 2)).time[0]).toMatchObject({
      text: '127.6 µs from the exit to the notification; the rest is unknown: the files hold no VM entry after it.',
    });
    const gap = excerpt('8139cp');
    gap.trace = change(gap.trace, '   6.769506466', `${LOST}\n   6.769506466`);
    expect((await tell(gap, 2)).time[0]).toMatchObject({
      strength: 'unknown',
      text: 'Records are lost between exit and entry: how long each stage took is unknown.',
    });
  });

  it('mapping calls of dom0 matter where the map cache missed, and only there', async () => {
    // Right before the answer: inside the doorbell's wait.
    const call = async (e: Excerpt): Promise<Excerpt> => {
      const answer = (await tell(e, 2)).hops.find((h) => h.text.includes('has the answer'))!;
      const wake = e.trace.split('\n')[answer.refs[0]!.at - 1]!;
      return {
        ...e,
        trace: change(e.trace, wake, `${wake.replace(/d0v0 .*/, 'd0v0 hypercall  1 (mmu_update) 3 updates')}\n${wake}`),
      };
    };
    const missed = await call(excerpt('8139cp'));
    missed.log = change(
      missed.log!,
      '152@1795363987.636',
      '152@1795363987.636000:xen_remap_bucket index 0x62\n152@1795363987.636',
    );
    expect(textOf(await tell(missed, 2))).toContain(
      'Between exit and entry dom0 made 1 mmu_update: the mapping that the miss caused is likely among them',
    );
    const hit = await call(excerpt('8139too'));
    expect(textOf(await tell({ ...hit }, 2))).toContain(
      'Between exit and entry dom0 made 1 mmu_update: none of them was needed for this packet, for every address the device model asked for was in its map cache.',
    );
  });

  it('answers --packet and --at or says what there is', async () => {
    await expect(tell(excerpt('8139cp'), 99)).rejects.toThrow('--packet 99: the capture has frames 1 to 2');
    const near = await explainFiles({ ...inputOf(excerpt('8139cp')), atSeconds: 6.7 });
    expect(near.hops[0]!.refs[0]).toEqual({
      file: 'text',
      unit: 'line',
      at: excerpt('8139cp').trace.split('\n').indexOf(DOORBELL),
    });
  });
});
