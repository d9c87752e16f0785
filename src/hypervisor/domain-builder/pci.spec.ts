import { describe, expect, it } from 'vitest';
import { setUpPci } from './pci.ts';

/** Functions of bus 0 behind ports 0xcf8 and 0xcfc: bytes of configuration space and which bits of BARs can be written. */
function bus(functions: Record<number, { id: number; bars?: Record<number, number>; pin?: number; header?: number }>) {
  const spaces = new Map(
    Object.entries(functions).map(([devfn, f]) => {
      const bytes = new DataView(new ArrayBuffer(256));
      bytes.setUint32(0, f.id, true);
      bytes.setUint8(0x0e, f.header ?? 0);
      bytes.setUint8(0x3d, f.pin ?? 0);
      for (const [register, mask] of Object.entries(f.bars ?? {})) bytes.setUint32(Number(register), mask & 0xf, true);
      return [Number(devfn), { bytes, bars: f.bars ?? {} }] as const;
    }),
  );
  let address = 0;
  const io = {
    in(port: number, size: number): number {
      const space = spaces.get((address >>> 8) & 0xff);
      const at = (address & 0xfc) + (port & 3);
      if (!space) return 2 ** (size * 8) - 1;
      return size === 4
        ? space.bytes.getUint32(at, true)
        : size === 2
          ? space.bytes.getUint16(at, true)
          : space.bytes.getUint8(at);
    },
    out(port: number, size: number, value: number): void {
      if (port === 0xcf8) return void (address = value);
      const space = spaces.get((address >>> 8) & 0xff);
      const at = (address & 0xfc) + (port & 3);
      if (!space) return;
      const mask = space.bars[at];
      if (at >= 0x10 && at < 0x28) {
        if (mask !== undefined) space.bytes.setUint32(at, (value & mask & ~0xf) | (mask & 0xf), true);
      } else if (size === 4) space.bytes.setUint32(at, value, true);
      else if (size === 2) space.bytes.setUint16(at, value, true);
      else space.bytes.setUint8(at, value);
    },
  };
  return {
    io,
    read32: (devfn: number, at: number) => spaces.get(devfn)!.bytes.getUint32(at, true),
    read8: (devfn: number, at: number) => spaces.get(devfn)!.bytes.getUint8(at),
  };
}

describe('PCI set-up', () => {
  const b = bus({
    0: { id: 0x12378086 },
    8: { id: 0x70008086, header: 0x80 },
    11: { id: 0x71138086, pin: 1 },
    24: { id: 0x813910ec, bars: { 16: 0xffffff01, 20: 0xffffff00 }, pin: 1 },
    32: { id: 0x11111234, bars: { 16: 0xff000008, 20: 0xfffc0004, 24: 0xffffffff } },
  });
  const bars = setUpPci(b.io);

  it('places BARs by size, each aligned, and turns decoding and bus mastering on', () => {
    expect(bars).toEqual([
      { devfn: 0x20, register: 0x10, kind: 'mem', base: 0xf0000000, size: 0x1000000 },
      { devfn: 0x20, register: 0x14, kind: 'mem', base: 0xf1000000, size: 0x40000 },
      { devfn: 0x18, register: 0x10, kind: 'io', base: 0xc000, size: 0x100 },
      { devfn: 0x18, register: 0x14, kind: 'mem', base: 0xf1040000, size: 0x100 },
    ]);
    expect([
      b.read32(0x18, 0x14),
      b.read32(0x18, 0x10),
      b.read32(0x18, 4) & 0xffff,
      b.read32(0x20, 4) & 0xffff,
      b.read32(0, 4),
    ]).toEqual([0xf1040000, 0xc001, 7, 6, 0]);
  });

  it('routes links and interrupt lines, and opens the power management block', () => {
    expect([0, 1, 2, 3].map((i) => b.read8(0x08, 0x60 + i))).toEqual([5, 10, 11, 5]);
    expect([b.read8(0x18, 0x3c), b.read8(0x0b, 0x3c)]).toEqual([5, 10]); // slot 3 pin A: link D
    expect([b.read32(0x0b, 0x40), b.read8(0x0b, 0x80)]).toEqual([0xb001, 1]);
  });

  it('refuses what does not fit into the hole', () => {
    expect(() => setUpPci(bus({ 24: { id: 1, bars: { 16: 0xf0000000 } } }).io)).toThrow(
      /PCI function 3.0: its 268435456 bytes of memory do not fit below 0xfc000000/,
    );
  });
});
