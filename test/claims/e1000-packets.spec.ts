/**
 * The frames of the e1000 capture, checked by hand: source address of each frame in a hex dump, and the write of TDT (0xf1003818) in
 * the log that comes before it and before which no other frame of the guest's was captured.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { analyze, tellStory, type Analysis } from '../../src/analyze/index.ts';
import { openTrace } from '../../src/trace/index.ts';
import { captureFile } from '../../src/trace/testing/fixtures.ts';
import { lackOf } from '../needs.ts';

const lack = await lackOf('captures');
const text = (file: string): string[] => Buffer.from(captureFile('e1000-ping', file)).toString('utf8').split('\n');

/** Frame, what it is, and the line of the log with the write of TDT that sent it, with its data; null: it came in. */
const PACKETS: readonly (readonly [number, string, readonly [number, string] | 'not in the files' | null])[] = [
  [1, 'ARP who has 10.0.2.2 tell 10.0.2.15, 60 bytes', [52562, '0x1']],
  [2, 'ARP 10.0.2.2 is at', null],
  [3, 'ICMP echo request 10.0.2.15 > 10.0.2.2', [52596, '0x2']],
  [4, 'ICMP echo reply 10.0.2.2 > 10.0.2.15', null],
  [5, 'ICMP echo request 10.0.2.15 > 10.0.2.2', [53035, '0x3']],
  [6, 'ICMP echo reply 10.0.2.2 > 10.0.2.15', null],
  [7, 'ICMP echo request 10.0.2.15 > 10.0.2.2', [53734, '0x4']],
  [8, 'ICMP echo reply 10.0.2.2 > 10.0.2.15', null],
  [9, 'ICMPv6 multicast listener report v2 :: > ff02::16, 90 bytes', [53776, '0x5']],
  [10, 'ICMPv6 neighbor solicitation :: > ff02::1:ff00:1, 86 bytes', [54146, '0x6']],
  [11, 'ICMPv6 multicast listener report v2 :: > ff02::16, 90 bytes', [54176, '0x7']],
  [12, 'ARP who has 10.0.2.15 tell 10.0.2.2', null],
  [13, 'ARP 10.0.2.15 is at 00:16:3e:00:00:01, 60 bytes', [54410, '0x8']],
  [14, 'ICMPv6 multicast listener report v2 fe80::216:3eff:fe00:1 > ff02::16, 90 bytes', [54448, '0x9']],
  [15, 'ICMPv6 router solicitation fe80::216:3eff:fe00:1 > ff02::2, 70 bytes', [54470, '0xa']],
  [16, 'ICMPv6 multicast listener report v2 fe80::216:3eff:fe00:1 > ff02::16, 90 bytes', [54710, '0xb']],
  [17, 'ICMPv6 router solicitation fe80::216:3eff:fe00:1 > ff02::2, 70 bytes', [56054, '0xc']],
  // The log ends before these.
  [18, 'ICMPv6 router solicitation', 'not in the files'],
  [19, 'ICMPv6 router solicitation', 'not in the files'],
  [20, 'ICMPv6 router solicitation', 'not in the files'],
];

describe.skipIf(lack.skip)(lack.title('the e1000 capture'), () => {
  let a: Analysis;
  beforeAll(async () => {
    a = await analyze({
      trace: await openTrace(Uint8Array.from(captureFile('e1000-ping', 'trace-tail.bin'))),
      dmLog: text('qemu-dm.log'),
      pcap: captureFile('e1000-ping', 'bridge.pcap'),
      console: text('serial.log'),
    });
  }, 120_000);

  it('has these frames and no more', () => expect(a.frames.map((f) => f.number)).toEqual(PACKETS.map(([n]) => n)));

  it.each(PACKETS)('packet %i, %s', (packet, what, bell) => {
    const story = tellStory(a, { packet });
    expect(story.title).toContain(`Packet ${packet} of the capture: ${what}`);
    const taken = story.hops.find((h) => h.text.startsWith('takes the request'));
    if (bell === null) {
      expect(story.title).toMatch(/received by the guest$/);
      expect(story.summary[0]!.text).toMatch(/came to the guest from outside\.$/);
      expect(taken).toBe(undefined);
    } else if (bell === 'not in the files') {
      expect(story.title).toMatch(/sent by the guest, its doorbell not found in the files$/);
      expect(story.subject.at(-1)!.text).toBe('It was captured after the last request of the log.');
      expect(taken).toBe(undefined);
    } else {
      const [line, data] = bell;
      expect(story.title).toMatch(/sent through an emulated e1000$/);
      expect(taken!.refs[0]).toMatchObject({ file: 'dm-log', at: line });
      expect(taken!.text).toContain(`address 0xf1003818, data ${data}, served by its e1000-mmio handler`);
      expect(story.hops[1]!.text).toContain(`writes ${data} to guest-physical 0xf1003818: TDT.`);
      // TDT is the descriptor behind the last: the frame lay in the one before.
      expect(story.addresses.map((r) => r.what)).toContain(`descriptor ${Number(data) - 1}`);
    }
  });
});
