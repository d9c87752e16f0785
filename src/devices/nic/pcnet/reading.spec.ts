import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { TestBus } from '../../conformance/test-bus.ts';
import { parseLine } from '../../conformance/transcript.ts';
import { PCI_BAR0 } from '../../pci/config-space.ts';
import type { NicAccess, NicFollower } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { Pcnet } from './core.ts';
import type { PcnetSaved } from './state.ts';
import { pcnetReading as chip } from './reading.ts';
import { bcrNumber, csrNumber, IM, RMD1, setUp, Status, TMD1, TMD2, type Csr } from './testing/set-up.ts';

const block = chip.blocks[1]!;
const access = (dir: 'read' | 'write', offset: number, data?: number, width?: number): NicAccess => ({
  block,
  dir,
  offset,
  width,
  data: data === undefined ? undefined : BigInt(data),
});
const { wio, dwio } = setUp();
const select = (name: Csr): NicAccess => access('write', wio.offset('RAP'), csrNumber(name), 2);
/** A descriptor's second word: its buffer's bytes as a negative number, and status. */
const lengthWord = (bytes: number, status: number): number => ((-bytes & 0xffff) | (status << 16)) >>> 0;
const names = (follower: NicFollower, a: NicAccess): string[] => follower.take(a).registers.map((r) => r.name);

describe('reading of the Am79C970A', () => {
  it('names the register behind RAP, in both styles', () => {
    const card = chip.follow();
    expect(names(card, access('read', wio.offset('RDP'), 0, 2))).toEqual(['RDP']);
    expect(names(card, select('IM'))).toEqual(['RAP']);
    expect(card.take(access('write', wio.offset('RDP'), IM.TINTM | IM.IDONM, 2)).registers).toMatchObject([
      { name: 'CSR3', fields: 'IDONM TINTM' },
    ]);
    card.take(access('write', wio.offset('RAP'), bcrNumber('SWS'), 2));
    expect(card.take(access('write', wio.offset('BDP'), 2, 2))).toMatchObject({
      registers: [{ name: 'BCR20', fields: 'SWSTYLE=PCnet-PCI' }],
      mode: { mode: 'PCnet-PCI', strength: 'proven' },
    });
    expect(names(card, access('write', dwio.offset('RDP'), 0, 4))).toEqual(['CSR20']);
    expect(names(card, access('write', dwio.offset('RAP'), csrNumber('CHIPIDL'), 4))).toEqual(['RAP']);
    expect(names(card, access('read', dwio.offset('RDP'), 0x2621003, 4))).toEqual(['CSR88']);
    expect(names(card, access('read', dwio.offset('BDP'), 0, 4))).toEqual(['BDP32']);
    expect(names(card, access('read', dwio.offset('RESET'), 0, 4))).toEqual(['RESET32']);
    expect(names(card, access('read', wio.offset('RDP'), Status.STOP, 2))).toEqual(['CSR0']);
    expect(names(card, access('read', 4, 0x34, 1))).toEqual(['APROM4']);
  });

  it('finds the style by the offsets where no file tells the width', () => {
    const wide = chip.follow();
    expect(names(wide, access('write', dwio.offset('RAP'), 4))).toEqual(['RAP']);
    expect(names(wide, access('read', dwio.offset('RDP'), 0))).toEqual(['CSR4']);
    expect(names(wide, access('read', dwio.offset('BDP'), 0))).toEqual(['BCR4']);
    const narrow = chip.follow();
    expect(names(narrow, access('write', wio.offset('RAP'), 4))).toEqual(['RAP']);
    expect(names(narrow, access('read', wio.offset('RDP')))).toEqual(['CSR4']);
    expect(names(narrow, access('read', wio.offset('RESET'), 0))).toEqual(['RESET']);
    expect(names(narrow, access('read', wio.offset('RDP')))).toEqual(['CSR0']);
  });

  it('knows the doorbell, the cause, and where the initialization block lies', () => {
    const card = chip.follow();
    const put = (name: Csr, data: number) => (card.take(select(name)), card.take(access('write', wio.offset('RDP'), data, 2)));
    expect(put('IADRL', 0x1000).place).toMatchObject({ base: 0x1000 });
    expect(put('IADRU', 0x0100).place).toMatchObject({
      key: 'initialization block',
      register: 'CSR1',
      base: 0x0100_1000,
      count: 28,
    });
    const { STRT, IENA, TDMD, TINT, RINT, ERR, INTR, TXON, RXON, INIT } = Status;
    expect(put('Status', IENA | STRT).doorbell).toBeUndefined();
    expect(put('Status', IENA | TDMD).doorbell).toMatchObject({ register: 'CSR0', kind: 'ring', place: undefined });
    expect(card.take(access('read', wio.offset('RDP'), RINT | TINT | INTR | IENA | RXON | TXON | STRT | INIT, 2)).cause).toEqual({
      register: 'CSR0',
      transmitted: true,
      received: true,
    });
    expect(put('Status', TINT | IENA)).toMatchObject({ cause: { transmitted: true, received: false } });
    expect(put('TFEAT', RINT | TINT).cause).toBeUndefined();
    expect(chip.causeText(ERR | RINT | TINT | INTR | IENA | RXON | TXON | STRT | INIT)).toBe('CSR0 (TINT RINT ERR)');
    expect(chip.causeText(RXON | TXON | STRT | INIT)).toBe('CSR0');
    expect(card.place('transmit ring')).toBeUndefined();
  });

  it('knows that any access to a port polls the transmit ring, unless the driver forbids it', () => {
    const card = chip.follow();
    expect(card.take(access('read', 2, 0x3e, 1)).poll).toBeUndefined();
    expect(card.take(access('write', 0x12, 0, 2)).poll).toMatchObject({ register: 'RAP', kind: 'ring' });
    expect(card.take(access('read', 0x10, 0x73, 2)).poll).toMatchObject({ register: 'CSR0' });
    card.take(access('write', 0x12, 4, 2));
    // DPOLL
    card.take(access('write', 0x10, 0x1915, 2));
    expect(card.take(access('write', 0x12, 0, 2)).poll).toBeUndefined();
    expect(card.take(access('write', 0x10, 0x48, 2))).toMatchObject({ doorbell: { register: 'CSR0' }, poll: undefined });
    card.take(access('write', 0x12, 4, 2));
    card.take(access('write', 0x10, 0x0915, 2));
    expect(card.take(access('write', 0x12, 0, 2)).poll).toBeDefined();
  });

  it('takes the rings from the line that prints the initialization block, in both layouts', () => {
    const line = (ss32: number) => `ss32_rdra_tdra s=0x55d0 ss32=${ss32} rdra=0x06344000[32] tdra=0x06343000[16]`;
    expect(chip.lines!.places(line(1))).toEqual([
      {
        key: 'transmit ring',
        direction: 'transmit',
        register: 'TDRA of the initialization block',
        base: 0x634_3000,
        descriptorBytes: 16,
        count: 16,
      },
      {
        key: 'receive ring',
        direction: 'receive',
        register: 'RDRA of the initialization block',
        base: 0x634_4000,
        descriptorBytes: 16,
        count: 32,
      },
    ]);
    expect(chip.lines!.places(line(0)).map((p) => p.descriptorBytes)).toEqual([8, 8]);
    expect(chip.lines!.places('init s=0x0 init_addr=0x6341000')).toEqual([]);
    for (const { key, direction } of chip.lines!.places(line(1))) expect(chip.places(direction, undefined)[0]).toBe(key);
  });

  it('reads trace events and debug lines', () => {
    expect(
      [
        'ioport_write opaque=0x55d0 addr=0x12 data=0x0 size=2',
        'aprom_readb opaque=0x55d0 addr=0x00000004 val=0x34',
        'ioport_writew addr=0x00000016 val=0x0002',
        'csr_writew rap=0 val=0x0048',
        'bcr_readw rap=18 val=0x9001',
        'receive size=60',
      ].map((text) => chip.lines!.registers(text)),
    ).toEqual([[0x12], [4], [0x16], [0x10], [0x16, 0x1c], []]);
  });

  it("follows the transcripts: number, style and software style are the chip's at every access", () => {
    const folder = new URL('../../../../test/transcripts/', import.meta.url);
    let accesses = 0;
    for (const name of readdirSync(folder).filter((file) => file.startsWith('pcnet-'))) {
      let card = chip.follow();
      let bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: new Uint8Array(6) }));
      for (const [i, text] of gunzipSync(readFileSync(new URL(name, folder)))
        .toString()
        .split('\n')
        .entries()) {
        if (text === '') continue;
        const line = parseLine(text, `${name}:${i}`);
        if ('header' in line) {
          card = chip.follow();
          bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: line.header.mac }));
        } else if ('input' in line && (line.input.kind === 'read' || line.input.kind === 'write')) {
          const { kind, addr, size, value } = line.input;
          card.take(access(kind, addr, value, size));
          if (kind === 'read') bus.chip.readBar(1, addr, size);
          else bus.chip.writeBar(1, addr, size, value);
          const state = bus.chip.save();
          const seen = card as unknown as { rap: number | undefined; dwio: boolean };
          accesses++;
          if (seen.rap !== undefined) expect(seen.rap, `${name}:${i + 1}`).toBe((state as PcnetSaved).rap);
        }
      }
    }
    expect(accesses).toBeGreaterThan(3000);
  });

  it('reads descriptors in each layout', () => {
    const read = (direction: 'transmit' | 'receive', words: number[], mode: string) => chip.descriptor(direction, words, mode);
    const { OWN, ERR, STP, ENP } = TMD1;
    expect(read('transmit', [0x0100_6000, lengthWord(60, OWN | STP | ENP), 0, 0], 'PCnet-PCI')).toEqual({
      buffer: 0x0100_6000,
      length: 60,
      last: true,
      text: 'ENP STP OWN, 60 bytes',
      bufferWord: 'first',
    });
    expect(read('transmit', [TMD2.BUFF + TMD2.UFLO, lengthWord(60, ERR | STP), 0x6000, 0], 'PCnet-PCI II')).toEqual({
      buffer: 0x6000,
      length: 60,
      last: false,
      text: 'STP ERR, 60 bytes, UFLO BUFF',
      bufferWord: 'third',
    });
    expect(
      read('receive', [(((RMD1.STP | RMD1.ENP) << 16) | 0x8000) >>> 0, ((204 << 16) | lengthWord(1544, 0)) >>> 0], 'LANCE'),
    ).toEqual({
      buffer: 0x8000,
      length: 1544,
      last: true,
      text: 'ENP STP, 1544 bytes, message of 204 bytes',
      bufferWord: 'first',
    });
    expect(read('receive', [0x8000, lengthWord(4096, RMD1.OWN), 0, 0], 'PCnet-PCI').length).toBe(4096);
    expect(read('receive', [], 'PCnet-PCI')).toMatchObject({ length: 4096, last: false });
  });

  it('stands in the list, with a block for each BAR', () => {
    expect(nicReadings).toContain(chip);
    expect(chip.blocks.map(({ bar, space, size }) => ({ bar, space, size }))).toEqual([
      { bar: PCI_BAR0, space: 'pio', size: 32 },
      { bar: PCI_BAR0 + 4, space: 'mmio', size: 32 },
    ]);
    expect(chip.modes).toEqual(['LANCE', 'ILACC', 'PCnet-PCI', 'PCnet-PCI II']);
    expect(chip.registerAt(block, wio.offset('RAP'), undefined)).toBe('RAP');
    expect(chip.registerAt(block, dwio.offset('BDP') + 2, undefined)).toBe('BDP32');
    expect(chip.registerAt(block, 3, undefined)).toBe('APROM3');
  });
});
