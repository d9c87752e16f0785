/** Every register, every width, every offset and straddle, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { rtl8139Registers } from './registers.ts';
import { CMD_RESET, CMD_RX_EMPTY, CMD_TX_ENABLE, MODE_CONFIG_WRITE } from './port.ts';
import { BAR, setUp } from './testing/set-up.ts';

const widths = [1, 2, 4] as const;
const byName = (name: string): RegisterDef => rtl8139Registers.find((r) => r.name === name)!;

/** The register an aligned access of this width means as a whole, and at which byte of it; or none. */
function whole(offset: number, size: number, write: boolean): [RegisterDef, number] | undefined {
  for (const r of rtl8139Registers as readonly RegisterDef[]) {
    const at = offset - r.offset;
    if (at < 0 || at >= r.width) continue;
    if (at === 0 && r.width === size) return [r, 0];
    const mask =
      size === 1
        ? write
          ? r.partial?.writeb
          : r.partial?.readb
        : size === 2
          ? write
            ? r.partial?.writew
            : r.partial?.readw
          : 0;
    return (mask ?? 0) & (1 << at) ? [r, at] : undefined;
  }
  return undefined;
}

/** What a read gives, put together from what each register reads at its own width. */
function expected(values: ReadonlyMap<string, number>, offset: number, size: number): number {
  if (offset % size === 0) {
    const found = whole(offset, size, false);
    if (found) return (values.get(found[0].name)! >>> (8 * found[1])) & (size === 4 ? -1 : widthMask(size));
    if (size === 1) return 0;
  }
  let value = 0;
  for (let at = offset; at < offset + size; ) {
    const step = offset % size !== 0 && at % 2 === 0 && at + 2 <= offset + size ? 2 : 1;
    value |= expected(values, at, step) << (8 * (at - offset));
    at += step;
  }
  return value;
}

/** A chip whose plain registers hold what was written to them. */
function dirty() {
  const at = setUp();
  at.write('Cfg9346', MODE_CONFIG_WRITE);
  at.write('ChipCmd', CMD_TX_ENABLE);
  for (const [name, value] of [
    ['MAR0', 0x12],
    ['MAR7', 0x9a],
    ['RxBuf', 0x89abcdef],
    ['IntrMask', 0xa5a5],
    ['TxConfig', 0x03070770],
    ['RxConfig', 0x0003_f78f],
    ['Config1', 0xff],
    ['Config3', 0xff],
    ['Config4', 0x55],
    ['MultiIntr', 0x0abc],
    ['TxAddr0', 0x11223344],
    ['TxAddr3', 0xfedcba98],
    ['NWayAdvert', 0x8765],
    ['Config5', 0x5a],
    ['RxRingAddr', 0xcafebabe],
    ['RxRingAddrHI', 0x0badcafe],
    ['TxThresh', 0x3f],
    ['TimerInt', 0x7fffffff],
  ] as const) {
    const register = byName(name);
    at.writeAt(register.offset, register.width, value);
  }
  return at;
}

/** Registers whose write does more than store, or whose read is computed. */
const special = new Set([
  'ChipCmd',
  'RxBufPtr',
  'RxBufAddr',
  'IntrStatus',
  'Cfg9346',
  'Timer',
  'RxMissed',
  'HltClk',
  'PCIRevisionID',
  'MediaStatus',
  'TxSummary',
  'TxPoll',
  'BasicModeCtrl',
  'RxConfig',
  'TxStatus0',
  'TxStatus1',
  'TxStatus2',
  'TxStatus3',
  'CpCmd',
]);

describe('rtl8139 register sweep', () => {
  it('power-on values are those of the table', () => {
    const { read, readAt } = setUp();
    for (const r of rtl8139Registers) {
      if (special.has(r.name) || /^MAC/.test(r.name)) continue;
      expect(readAt(r.offset, r.width), r.name).toBe(r.powerOn ?? r.reset ?? 0);
    }
    expect(read('ChipCmd')).toBe(CMD_RESET | CMD_RX_EMPTY);
    expect(read('IntrStatus')).toBe(0);
    expect(read('TxSummary')).toBe(0x000f);
    expect(read('MediaStatus')).toBe(0xd0);
  });

  it('reads: every offset and width gives what its registers give', () => {
    const { readAt } = dirty();
    const values = new Map(rtl8139Registers.map((r) => [r.name as string, readAt(r.offset, r.width)]));
    let nonZero = 0;
    for (const size of widths) {
      for (let offset = 0; offset + size <= 256; offset++) {
        const value = readAt(offset, size);
        expect(value, `${size} at 0x${offset.toString(16)}`).toBe(expected(values, offset, size) >>> 0);
        nonZero += Number(value !== 0);
      }
    }
    expect(nonZero).toBeGreaterThan(150);
  });

  it('both BARs are the same registers', () => {
    const { bus, readAt } = dirty();
    for (let offset = 0; offset < 256; offset += 4) expect(bus.read('io', 0xc000 + offset, 4)).toBe(readAt(offset, 4));
  });

  it('writes at natural width change the writable bits, and no other register', () => {
    for (const value of [0xffffffff, 0, 0x5aa5c33c]) {
      for (const r of rtl8139Registers as readonly RegisterDef[]) {
        if (special.has(r.name)) continue;
        const { readAt, writeAt } = dirty();
        const before = rtl8139Registers.map((other) => readAt(other.offset, other.width));
        writeAt(r.offset, r.width, (value & widthMask(r.width)) >>> 0);
        const mask = r.access === 'rw' ? (r.writable ?? widthMask(r.width)) : 0;
        rtl8139Registers.forEach((other, i) => {
          const want =
            other.name === r.name
              ? ((before[i]! & ~mask) | (value & mask)) & (r.width === 4 ? -1 : widthMask(r.width))
              : before[i]!;
          expect(readAt(other.offset, other.width), `${other.name} after ${r.name}`).toBe(want >>> 0);
        });
      }
    }
  });

  it('writes of every width at every offset change only registers they touch', () => {
    for (const size of widths) {
      for (let offset = 0; offset + size <= 256; offset++) {
        const touched = rtl8139Registers.filter((r) => r.offset < offset + size && r.offset + r.width > offset);
        if (touched.some((r) => special.has(r.name))) continue;
        const { readAt, writeAt } = dirty();
        const before = rtl8139Registers.map((r) => readAt(r.offset, r.width));
        writeAt(offset, size, widthMask(size));
        rtl8139Registers.forEach((r, i) => {
          if (!touched.includes(r))
            expect(readAt(r.offset, r.width), `${r.name} after ${size} bytes at 0x${offset.toString(16)}`).toBe(before[i]);
          // An aligned access narrower than the register changes nothing when the table lists neither it nor its bytes.
          else if (
            size < r.width &&
            offset % size === 0 &&
            !whole(offset, size, true) &&
            !(size === 2 && (whole(offset, 1, true) ?? whole(offset + 1, 1, true)))
          ) {
            expect(readAt(r.offset, r.width), r.name).toBe(before[i]);
          }
        });
      }
    }
  });

  it('locked registers keep their value until Cfg9346 opens the lock', () => {
    const locked = rtl8139Registers.filter((r) => (r as RegisterDef).lock !== undefined);
    expect(locked.map((r) => r.name)).toEqual(['Config0', 'Config1', 'Config3', 'Config4']);
    for (const mode of [0x00, 0x80]) {
      const { readAt, write, writeAt } = setUp();
      write('Cfg9346', mode);
      const before = locked.map((r) => readAt(r.offset, 1));
      for (const r of locked) writeAt(r.offset, 1, 0xff);
      expect(locked.map((r) => readAt(r.offset, 1))).toEqual(before);
      write('Cfg9346', MODE_CONFIG_WRITE);
      for (const r of locked) writeAt(r.offset, 1, 0xff);
      expect(locked.map((r) => readAt(r.offset, 1))).not.toEqual(before);
    }
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    const { bus, chip, startCplus } = setUp();
    startCplus();
    for (const size of widths) {
      for (let offset = -4; offset < 260; offset++) {
        for (const value of [0, 1, 0x80, 0xffffffff]) {
          bus.write('mem', BAR + offset, size, (value & widthMask(size)) >>> 0);
          const got = bus.read('mem', BAR + offset, size);
          expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
        }
      }
    }
    expect(chip.statistics()).toBeDefined();
  });
});
