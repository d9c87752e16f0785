import { describe, expect, it } from 'vitest';
import { PCI_BAR0 } from '../../pci/config-space.ts';
import type { Meaning, NicAccess } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { e1000Reading as chip } from './reading.ts';
import { toField } from '../../../base/testing/by-name.ts';
import { e1000IoRegisters, e1000Registers, type E1000Register } from './registers.ts';
import {
  BAR,
  CHECKSUMS,
  EECD,
  EERD,
  GIGABIT,
  INT,
  IO,
  MAC,
  mdic,
  PHY_CTRL,
  RCTL,
  RX_RING,
  RXD,
  setUp,
  TCTL,
  TX_RING,
} from './testing/set-up.ts';

const [mmio, ports] = chip.blocks as [NicAccess['block'], NicAccess['block']];
const at = (name: E1000Register): number => e1000Registers.find((r) => r.name === name)!.offset;
const port = (name: (typeof e1000IoRegisters)[number]['name']): number => e1000IoRegisters.find((r) => r.name === name)!.offset;
/** A place that the data sheet leaves free. */
const NO_REGISTER = 0x24;
const access = (dir: 'read' | 'write', name: E1000Register, data: number): NicAccess => ({
  block: mmio,
  dir,
  offset: at(name),
  width: 4,
  data: BigInt(data >>> 0),
});

/** Everything a driver does to a chip, and what its follower makes of it. */
function followed() {
  const rig = setUp();
  const follower = chip.follow();
  const told: Meaning[] = [];
  const busRead = rig.bus.read.bind(rig.bus);
  const busWrite = rig.bus.write.bind(rig.bus);
  const tell = (dir: 'read' | 'write', kind: 'io' | 'mem', address: number, width: number, value: number): void => {
    const [block, offset] = kind === 'io' ? [ports, address - IO] : [mmio, address - BAR];
    told.push(follower.take({ block, dir, offset, width, data: BigInt(value) }));
  };
  rig.bus.read = (kind, address, size) => {
    const value = busRead(kind, address, size);
    tell('read', kind, address, size, value);
    return value;
  };
  rig.bus.write = (kind, address, size, value) => {
    tell('write', kind, address, size, value);
    busWrite(kind, address, size, value);
  };
  const names = (): string[][] => told.map((m) => m.registers.map((r) => r.name));
  return { ...rig, follower, told, names };
}

describe('reading of the e1000', () => {
  it('stands in the list, with a block for each BAR', () => {
    expect(nicReadings).toContain(chip);
    expect(chip.blocks.map(({ bar, space, size }) => ({ bar, space, size }))).toEqual([
      { bar: PCI_BAR0, space: 'mmio', size: 0x20000 },
      { bar: PCI_BAR0 + 4, space: 'pio', size: 64 },
    ]);
    expect(chip.registerAt(mmio, at('TDT'), undefined)).toBe('TDT');
    expect(chip.registerAt(mmio, at('MTA') + 5 * 4 + 3, undefined)).toBe('MTA[5]');
    expect(chip.registerAt(ports, port('IODATA'), undefined)).toBe('IODATA');
    expect(chip.registerAt(mmio, NO_REGISTER, undefined)).toBeUndefined();
  });

  it('knows the doorbell, which descriptors it hands over, and where the rings lie', () => {
    const { follower, startTransmitter, startReceiver, told, write } = followed();
    startTransmitter();
    startReceiver();
    expect(told.filter((m) => m.doorbell !== undefined)).toEqual([]);
    const ring = {
      key: 'transmit ring',
      direction: 'transmit',
      register: 'TDBAL',
      base: 0x1000000,
      descriptorBytes: 16,
      count: 64,
    };
    expect(follower.place('transmit ring')).toEqual(ring);
    expect(follower.place('receive ring')).toMatchObject({ register: 'RDBAL', base: 0x1002000, count: 16 });
    expect(follower.place('receive buffer')).toBeUndefined();
    told.length = 0;
    for (const tail of [3, 4, 4, 63, 1]) write('TDT', tail);
    write('RDT', 2);
    const doorbells = () =>
      told.map(({ doorbell }) => doorbell && { register: doorbell.register, from: doorbell.from, until: doorbell.until });
    expect(doorbells()).toEqual([
      { register: 'TDT', from: 0, until: 3 },
      { register: 'TDT', from: 3, until: 4 },
      undefined,
      { register: 'TDT', from: 4, until: 63 },
      { register: 'TDT', from: 63, until: 1 },
      undefined,
    ]);
    expect(told[0]!.doorbell).toEqual({
      register: 'TDT',
      kind: 'ring',
      place: ring,
      index: undefined,
      length: undefined,
      from: 0,
      until: 3,
    });
    // Off, the transmitter takes nothing; on, all that is there.
    write('TCTL', 0);
    write('TDH', 1);
    told.length = 0;
    write('TDT', 9);
    write('TCTL', TCTL.EN);
    write('TCTL', TCTL.EN);
    expect(doorbells()).toEqual([undefined, { register: 'TCTL', from: 1, until: 9 }, undefined]);
    const moved = follower.take(access('write', 'TDBAH', 1)).place;
    expect(moved).toMatchObject({ base: 0x101000000 });
    expect(follower.take(access('write', 'TDBAL', 0x2000007)).place).toMatchObject({ base: 0x102000000 });
  });

  it('says what it does not know', () => {
    const follower = chip.follow();
    expect(follower.place('transmit ring')).toBeUndefined();
    expect(follower.take(access('write', 'TDT', 5)).doorbell).toMatchObject({ place: undefined, from: undefined, until: 5 });
    expect(follower.take({ ...access('write', 'TDT', 0), data: undefined })).toMatchObject({ registers: [{ name: 'TDT' }] });
    expect(follower.take({ ...access('read', 'CTRL', 0), offset: NO_REGISTER }).registers).toEqual([]);
    expect(follower.take(access('write', 'RDBAL', 0x5000)).place).toMatchObject({ base: 0x5000, count: 65528 });
  });

  it('reads the cause of an interrupt from ICR alone', () => {
    const cause = (name: E1000Register, data: number) => chip.follow().take(access('read', name, data)).cause;
    expect(cause('ICR', INT.RXT0 | INT.TXQE | INT.TXDW)).toEqual({ register: 'ICR', transmitted: true, received: true });
    expect(cause('ICR', INT.RXT0 | INT.RXDMT0 | INT.LSC)).toEqual({ register: 'ICR', transmitted: false, received: true });
    expect(cause('IMS', INT.RXT0 | INT.TXQE | INT.TXDW)).toBeUndefined();
    expect(chip.causeText(INT.RXT0 | INT.TXDW)).toBe('ICR (TXDW RXT0)');
    expect(chip.causeText(0)).toBe('ICR');
  });

  it('names what is behind MDIC, EERD and the I/O ports', () => {
    const { bus, names, read, told, write } = followed();
    write('MDIC', mdic('read', 'PHY_STATUS'));
    read('MDIC');
    write('MDIC', mdic('write', 'PHY_CTRL', PHY_CTRL.AUTO_NEG_EN | PHY_CTRL.RESTART_AUTO_NEG | GIGABIT));
    // The PHY has no register 7.
    write('MDIC', mdic('read', 7));
    read('MDIC');
    write('EERD', toField(EERD.ADDR, 1) | EERD.START);
    read('EERD');
    bus.write('io', IO + port('IOADDR'), 4, at('RCTL'));
    bus.write('io', IO + port('IODATA'), 4, RCTL.BAM | RCTL.EN);
    expect(names()).toEqual([
      ['MDIC', 'PHY_STATUS'],
      ['MDIC', 'PHY_STATUS'],
      ['MDIC', 'PHY_CTRL'],
      ['MDIC'],
      ['MDIC'],
      ['EERD'],
      ['EERD', 'EEPROM[1]'],
      ['IOADDR'],
      ['RCTL'],
    ]);
    expect(told[1]!.registers[1]!.value).toBe(0x794d);
    expect(told[6]!.registers[1]!.value).toBe(0x1200);
    expect(told[8]!.registers[0]!.fields).toBe('EN RDMTS=1/2 BAM');
  });

  it('puts the bits of the EEPROM wires together', () => {
    const { names, read, told, write } = followed();
    const { SK, CS, DI, REQ } = EECD;
    write('EECD', REQ | CS);
    const command = (0b110 << 6) | 1;
    for (let i = 8; i >= 0; i--) {
      const wires = REQ | CS | ((command >> i) & 1 ? DI : 0);
      for (const clock of [0, SK, 0]) write('EECD', wires | clock);
    }
    for (let i = 0; i < 32; i++) {
      write('EECD', REQ | CS | SK);
      read('EECD');
      write('EECD', REQ | CS);
    }
    expect(
      names()
        .flat()
        .filter((n) => n !== 'EECD'),
    ).toEqual(['EEPROM[1]', 'EEPROM[2]']);
    expect(told.flatMap((m) => m.registers.filter((r) => r.name !== 'EECD').map((r) => r.value))).toEqual([0x1200, 0x5634]);
  });

  it('reads descriptors of each kind, as the driver wrote them and as the chip left them', () => {
    const { bus, context, descriptor, ram, startReceiver, startTransmitter, write } = setUp();
    const words = (place: number): number[] => [0, 4, 8, 12].map((o) => ram.getUint32(place + o, true));
    const transmit = (n: number) => chip.descriptor('transmit', words(TX_RING + 16 * n), undefined);
    context(0);
    context(1, { tse: true, hdrLen: 54, mss: 1460, paylen: 16384 });
    descriptor(2, 'data', 0x802, 1514, ['TSE', 'EOP', 'RS'], { options: CHECKSUMS });
    descriptor(3, 'legacy', 0x802, 0xffff, ['VLE'], { tag: 0x64 });
    expect([0, 1, 2, 3].map((n) => transmit(n).text)).toEqual([
      'context for TCP over IPv4, checksum from byte 34 at byte 50',
      'context for TCP over IPv4, large send of 16384 bytes in segments of 1460, headers of 54',
      'data, EOP, large send, IP checksum, TCP or UDP checksum, report when done, 1514 bytes',
      'legacy, VLAN tag 0x64, 65535 bytes',
    ]);
    expect(transmit(0)).toMatchObject({ buffer: undefined, length: undefined, last: false });
    expect(transmit(2)).toMatchObject({ buffer: 0x1000802, length: 1514, last: true, bufferWord: 'first' });
    startTransmitter();
    startReceiver(RCTL.BAM | RCTL.EN | toField(RCTL.BSIZE, 2));
    write('TDT', 4);
    expect(transmit(2).text).toContain('report when done, done');
    bus.wire.arrive(Uint8Array.from({ length: 600 }, (_, i) => MAC[i] ?? 0));
    const received = (n: number) => chip.descriptor('receive', words(RX_RING + 16 * n), undefined);
    expect(received(0)).toMatchObject({ text: 'done, 512 bytes', buffer: 0x1010000, last: false });
    expect(received(1)).toMatchObject({ text: 'done, EOP, 92 bytes', buffer: 0x1010800, last: true });
    expect(received(2)).toMatchObject({ text: 'empty', buffer: 0x1011000, last: false });
    const tagged = (0x23 << 16) | RXD.VP | RXD.EOP | RXD.DD;
    expect(chip.descriptor('receive', [0x5000, 1, 64, tagged], undefined)).toMatchObject({
      text: 'done, EOP, VLAN tag 0x23 taken off, 64 bytes',
      buffer: 0x100005000,
    });
  });

  it('reads an interrupt delay, a length and an address of a descriptor as the chip does', () => {
    for (const length of [0, 60, 0x1fff, 0x2000, 0xffff]) {
      const { bus, descriptor, startTransmitter, ram, write } = setUp();
      startTransmitter();
      descriptor(0, 'data', 0x8000, length, ['EOP']);
      const read = chip.descriptor(
        'transmit',
        [0, 4, 8, 12].map((o) => ram.getUint32(o, true)),
        undefined,
      );
      write('TDT', 1);
      expect(read.length).toBe(length);
      expect(bus.wire.sent.map((f) => f.length)).toEqual([length]);
    }
  });

  it("knows which registers the model's debug lines are about", () => {
    const log: string[] = [];
    const { bus, descriptor, read, startReceiver, startTransmitter, write } = setUp({}, (line) => log.push(line));
    startReceiver();
    startTransmitter();
    descriptor(0, 'legacy', 0x8000, 60);
    write('TDT', 1);
    write('MDIC', mdic('read', 'PHY_STATUS'));
    read('TIDV');
    write('STATUS', 7);
    write('ICR', INT.TXDW);
    read('ICR');
    read('EECD');
    expect(bus.wire.sent.length).toBe(1);
    const about = log.map((line) => chip.lines!.registers(line.replace(/^e1000: /, '')));
    expect(about.every((offsets) => offsets.length > 0)).toBe(true);
    const names = new Set(about.flat().map((o) => chip.registerAt(mmio, o, undefined)));
    expect(names).toEqual(new Set(['RCTL', 'ICS', 'TCTL', 'TDT', 'MDIC', 'TIDV', 'STATUS', 'ICR', 'EECD']));
    expect(chip.lines!.registers('something else')).toEqual([]);
  });
});
