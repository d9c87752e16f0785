import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { Pcnet, type PcnetOptions } from '../core.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the two BARs. */
export const RAM = 0x100_0000;
export const IO = 0xc000;
export const BAR = 0xe000_0000;

/** Offsets in RAM of initialization block and rings. */
export const BLOCK = 0x1000;
export const RX_RING = 0x2000;
export const TX_RING = 0x3000;

export interface Rings {
  /** BCR20.SWSTYLE. */
  readonly style?: 0 | 1 | 2 | 3;
  /** Logarithms of the ring lengths. */
  readonly rlen?: number;
  readonly tlen?: number;
  readonly mode?: number;
  /** Where the rings lie in RAM. */
  readonly rx?: number;
  readonly tx?: number;
}

/** An Am79C970A on a test bus, its BARs in place and Command = 7. */
export function setUp(options: Partial<PcnetOptions> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: MAC, ...options }), RAM, 0x20_0000, log);
  const { chip } = bus;
  chip.writeConfig(0x10, 4, IO);
  chip.writeConfig(0x14, 4, BAR);
  chip.writeConfig(4, 2, 7);
  const read = (offset: number, size: number): number => bus.read('mem', BAR + offset, size);
  const write = (offset: number, size: number, value: number): void => bus.write('mem', BAR + offset, size, value);
  const select = (n: number): void => write(0x12, 2, n);
  const readCsr = (n: number): number => (select(n), read(0x10, 2));
  const writeCsr = (n: number, value: number): void => (select(n), write(0x10, 2, value));
  const readBcr = (n: number): number => (select(n), read(0x16, 2));
  const writeBcr = (n: number, value: number): void => (select(n), write(0x16, 2, value));
  const ram = new DataView(bus.ram.bytes.buffer);
  let style = 2;
  /** Descriptor `n` of the ring at `ring`: buffer (an offset in RAM), its bytes, status (upper half of the second word). */
  const descriptor = (ring: number, n: number, buffer: number, bytes: number, status: number): void => {
    const bcnt = -bytes & 0xffff;
    if (style === 0) {
      const at = ring + 8 * n;
      ram.setUint32(at, ((RAM + buffer) & 0xff_ffff) | ((status & 0xff00) << 16), true);
      ram.setUint32(at + 4, bcnt, true);
      return;
    }
    const at = ring + 16 * n;
    ram.setUint32(at + (style === 3 ? 8 : 0), RAM + buffer, true);
    ram.setUint32(at + 4, (bcnt | (status << 16)) >>> 0, true);
    ram.setUint32(at + (style === 3 ? 0 : 8), 0, true);
  };
  /** Status of a descriptor, and RMD2 or TMD2. */
  const statusOf = (ring: number, n: number): number =>
    style === 0 ? (ram.getUint32(ring + 8 * n, true) >>> 16) & 0xff00 : ram.getUint16(ring + 16 * n + 6, true);
  const miscOf = (ring: number, n: number): number =>
    style === 0 ? ram.getUint16(ring + 8 * n + 6, true) : ram.getUint32(ring + 16 * n + (style === 3 ? 0 : 8), true);
  /** As a driver does: software style, initialization block, start with interrupts. */
  const start = ({ style: chosen = 2, rlen = 2, tlen = 2, mode = 0, rx = RX_RING, tx = TX_RING }: Rings = {}): void => {
    style = chosen;
    writeBcr(20, chosen);
    const wide = chosen !== 0;
    ram.setUint16(BLOCK, mode, true);
    const padr = BLOCK + (wide ? 4 : 2);
    const ladrf = BLOCK + (wide ? 12 : 8);
    bus.ram.bytes.set(MAC, padr);
    bus.ram.bytes.fill(0, ladrf, ladrf + 8);
    if (wide) bus.ram.bytes.set([rlen << 4, tlen << 4], BLOCK + 2);
    ram.setUint32(ladrf + 8, wide ? RAM + rx : (((RAM + rx) & 0xff_ffff) | (rlen << 29)) >>> 0, true);
    ram.setUint32(ladrf + 12, wide ? RAM + tx : (((RAM + tx) & 0xff_ffff) | (tlen << 29)) >>> 0, true);
    writeCsr(1, (RAM + BLOCK) & 0xffff);
    writeCsr(2, (RAM + BLOCK) >>> 16);
    writeCsr(0, 0x0001);
    writeCsr(0, 0x0142);
  };
  return {
    bus,
    chip: chip as Pcnet,
    read,
    write,
    readCsr,
    writeCsr,
    readBcr,
    writeBcr,
    ram,
    descriptor,
    statusOf,
    miscOf,
    start,
  };
}
