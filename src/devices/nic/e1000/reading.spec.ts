import { describe, expect, it } from 'vitest';
import type { Meaning, NicAccess } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { e1000Reading as chip } from './reading.ts';
import { e1000Registers, type E1000Register } from './registers.ts';
import { BAR, IO, MAC, RX_RING, setUp, TX_RING } from './testing/set-up.ts';

const [mmio, ports] = chip.blocks as [NicAccess['block'], NicAccess['block']];
const at = (name: E1000Register): number => e1000Registers.find((r) => r.name === name)!.offset;
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
    expect(chip.blocks.map((b) => [b.bar, b.space, b.size])).toEqual([
      [0x10, 'mmio', 0x20000],
      [0x14, 'pio', 64],
    ]);
    expect([
      chip.registerAt(mmio, 0x3818, undefined),
      chip.registerAt(mmio, 0x5217, undefined),
      chip.registerAt(ports, 4, undefined),
    ]).toEqual(['TDT', 'MTA[5]', 'IODATA']);
    expect(chip.registerAt(mmio, 0x24, undefined)).toBeUndefined();
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
    expect(told.map((m) => m.doorbell && [m.doorbell.from, m.doorbell.until])).toEqual([
      [0, 3],
      [3, 4],
      undefined,
      [4, 63],
      [63, 1],
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
    write('TCTL', 2);
    write('TCTL', 2);
    expect(told.map((m) => m.doorbell && [m.doorbell.register, m.doorbell.from, m.doorbell.until])).toEqual([
      undefined,
      ['TCTL', 1, 9],
      undefined,
    ]);
    const moved = follower.take(access('write', 'TDBAH', 1)).place;
    expect(moved).toMatchObject({ base: 0x101000000 });
    expect(follower.take(access('write', 'TDBAL', 0x2000007)).place).toMatchObject({ base: 0x102000000 });
  });

  it('says what it does not know', () => {
    const follower = chip.follow();
    expect(follower.place('transmit ring')).toBeUndefined();
    expect(follower.take(access('write', 'TDT', 5)).doorbell).toMatchObject({ place: undefined, from: undefined, until: 5 });
    expect(follower.take({ ...access('write', 'TDT', 0), data: undefined })).toMatchObject({ registers: [{ name: 'TDT' }] });
    expect(follower.take({ ...access('read', 'CTRL', 0), offset: 0x24 }).registers).toEqual([]);
    expect(follower.take(access('write', 'RDBAL', 0x5000)).place).toMatchObject({ base: 0x5000, count: 65528 });
  });

  it('reads the cause of an interrupt from ICR alone', () => {
    const cause = (name: E1000Register, data: number) => chip.follow().take(access('read', name, data)).cause;
    expect(cause('ICR', 0x83)).toEqual({ register: 'ICR', transmitted: true, received: true });
    expect(cause('ICR', 0x94)).toEqual({ register: 'ICR', transmitted: false, received: true });
    expect(cause('IMS', 0x83)).toBeUndefined();
    expect([chip.causeText(0x81), chip.causeText(0)]).toEqual(['ICR (TXDW RXT0)', 'ICR']);
  });

  it('names what is behind MDIC, EERD and the I/O ports', () => {
    const { bus, names, read, told, write } = followed();
    write('MDIC', 0x08210000);
    read('MDIC');
    write('MDIC', 0x04200000 | 0x1340);
    write('MDIC', 0x08270000);
    read('MDIC');
    write('EERD', 0x101);
    read('EERD');
    bus.write('io', IO, 4, at('RCTL'));
    bus.write('io', IO + 4, 4, 0x8002);
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
    expect([told[1]!.registers[1]!.value, told[6]!.registers[1]!.value, told[8]!.registers[0]!.fields]).toEqual([
      0x794d,
      0x1200,
      'EN RDMTS=1/2 BAM',
    ]);
  });

  it('puts the bits of the EEPROM wires together', () => {
    const { names, read, told, write } = followed();
    write('EECD', 0x42);
    const command = (0b110 << 6) | 1;
    for (let i = 8; i >= 0; i--) {
      const wires = 0x42 | ((command >> i) & 1 ? 4 : 0);
      for (const clock of [0, 1, 0]) write('EECD', wires | clock);
    }
    for (let i = 0; i < 32; i++) {
      write('EECD', 0x43);
      read('EECD');
      write('EECD', 0x42);
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
    descriptor(2, 'data', 0x802, 1514, ['TSE', 'EOP', 'RS'], { options: 3 });
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
    startReceiver(0x28002);
    write('TDT', 4);
    expect(transmit(2).text).toContain('report when done, done');
    bus.wire.arrive(Uint8Array.from({ length: 600 }, (_, i) => MAC[i] ?? 0));
    const received = (n: number) => chip.descriptor('receive', words(RX_RING + 16 * n), undefined);
    expect([0, 1, 2].map((n) => [received(n).text, received(n).buffer, received(n).last])).toEqual([
      ['done, 512 bytes', 0x1010000, false],
      ['done, EOP, 92 bytes', 0x1010800, true],
      ['empty', 0x1011000, false],
    ]);
    expect(chip.descriptor('receive', [0x5000, 1, 64, 0x0023000b], undefined)).toMatchObject({
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
      expect([read.length, bus.wire.sent.map((f) => f.length)]).toEqual([length, [length]]);
    }
  });

  it("knows which registers the model's debug lines are about", () => {
    const log: string[] = [];
    const { bus, descriptor, read, startReceiver, startTransmitter, write } = setUp({}, (line) => log.push(line));
    startReceiver();
    startTransmitter();
    descriptor(0, 'legacy', 0x8000, 60);
    write('TDT', 1);
    write('MDIC', 0x08210000);
    read('TIDV');
    write('STATUS', 7);
    write('ICR', 1);
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
