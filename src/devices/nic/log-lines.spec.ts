import { describe, expect, it } from 'vitest';
import type { LogLine } from '../../base/log-line.ts';
import { lines as e1000 } from './e1000/log.ts';
import { lines as ne2k } from './ne2k_pci/log.ts';
import { lines as pcnet } from './pcnet/log.ts';
import { lines as rtl8139 } from './rtl8139/log.ts';

/** A value for a field of each kind that reads back as itself. */
const values: Readonly<Record<string, unknown>> = {
  d: 3,
  x: 0xf1,
  x2: 0x1f,
  x4: 1,
  x8: 2,
  q: 0x1_0000_0000n,
  p: '0x7f00',
  h: '0f',
  w: 'TxPoll',
  l: 'a label',
  s: '(w)',
  n: 'a',
  t: 'the rest',
};

describe.each(Object.entries({ rtl8139, e1000, ne2k_pci: ne2k, pcnet }))('lines of the %s', (_, table) => {
  const all = Object.values(table) as unknown as LogLine[];
  it.each(all.map((line) => [line.text, line] as const))('%s', (text, line) => {
    const fields = Object.fromEntries([...text.matchAll(/\{(\w+):(\w+)\}/g)].map(([, name, kind]) => [name!, values[kind!]]));
    const written = (line.write as (f: object) => string)(fields);
    expect(line.read(written)).toEqual(fields);
    // No line is taken for another.
    const others = all.filter((other) => other !== line && other.read(written) !== undefined);
    expect(others.map((other) => other.text)).toEqual([]);
  });
});

// Lines as QEMU 7.2 prints them, by the formats of its sources.
describe("QEMU's own words", () => {
  it.each([
    [
      e1000.txDescriptor,
      'e1000: index 5: 0x7c5a802 : 8b00002a 0',
      { index: 5, address: '0x7c5a802', lower: 0x8b00002a, upper: 0 },
    ],
    [e1000.txDescriptor, 'e1000: index 6: (nil) : 0 0', { index: 6, address: '(nil)', lower: 0, upper: 0 }],
    [e1000.setIcs, 'e1000: set_ics 2, ICR 0, IMR 9d', { causes: 2, icr: 0, ims: 0x9d }],
    [e1000.readOnly, 'e1000: e1000_mmio_writel RO 4000: 0x0001', { offset: 0x4000, value: 1 }],
    [e1000.unknownWrite, 'e1000: MMIO unknown write addr=0x00005b54,val=0x00000000', { offset: 0x5b54, value: 0 }],
    [e1000.partlyWrite, 'e1000: Writing to register at offset: 0x00002820. It is not fully implemented.', { offset: 0x2820 }],
    [
      e1000.overrun,
      'e1000_receiver_overrun Receiver overrun: dropped packet of 60 bytes, RDH=3, RDT=3',
      { size: 60, rdh: 3, rdt: 3 },
    ],
    [ne2k.read, 'ne2000_read read addr=0x7 val=0x41', { addr: 7, value: 0x41 }],
    [ne2k.ioportWrite, 'ne2000_ioport_write io write addr=0x07 val=0xff', { addr: 7, value: 0xff }],
    [ne2k.oldSetIrq, 'NE2000: Set IRQ to 1 (41 3f)', { level: 1, status: 0x41, mask: 0x3f }],
    [
      pcnet.rings,
      'pcnet_ss32_rdra_tdra s=0x55d0c8 ss32=1 rdra=0x06344000[32] tdra=0x06343000[16]',
      { chip: '0x55d0c8', ss32: 1, rdra: 0x634_4000, rcvrl: 32, tdra: 0x634_3000, xmtrl: 16 },
    ],
    [pcnet.interrupt, 'pcnet_isr_change s=0x55d0c8 INTA=1<=0', { chip: '0x55d0c8', now: 1, before: 0 }],
    [pcnet.debugWriteCsr, 'pcnet_csr_writew rap=0 val=0x0048', { rap: 0, value: 0x48 }],
  ] as const)('%# is read', (line, text, fields) => expect((line as LogLine).read(text)).toEqual(fields));
});
