import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { E1000, type E1000Options } from '../core.ts';
import { contextTxDescriptor, dataTxDescriptor, descriptorMask, legacyTxDescriptor, type TxKind } from '../descriptors.ts';
import { e1000Registers, type E1000Register } from '../registers.ts';
import type { TxContext } from '../state.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the two BARs. */
export const RAM = 0x100_0000;
export const BAR = 0xe000_0000;
export const IO = 0xc000;
/** Offsets in RAM: rings, and the buffers of the receive ring. */
export const TX_RING = 0x0000;
export const RX_RING = 0x2000;
export const RX_BUFFERS = 0x10000;
/** After a write of RCTL frames are held back no longer than this. */
const HOLD_NS = 1_001_000_000;

type Named = E1000Register | `${E1000Register}[${number}]`;

/** Offset of a register, or of one of an array: `TDT`, `MTA[5]`. */
function offsetOf(name: Named): number {
  const m = /^(\w+?)(?:\[(\d+)\])?$/.exec(name);
  const def = e1000Registers.find((r) => r.name === m?.[1]);
  if (!def) throw new Error(`no register ${name}`);
  return def.offset + Number(m?.[2] ?? 0) * (def.stride ?? def.width);
}

/** Bits by field name, for the Command word of a transmit descriptor. */
const command = (layout: typeof dataTxDescriptor, names: readonly string[]): number =>
  names.reduce((bits, name) => bits | descriptorMask(layout, 'Command', name), 0);

/** An e1000 on a test bus, its BARs in place and Command = 7. Offsets are into RAM. */
export function setUp(options: Partial<E1000Options> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new E1000(slot, wire, { mac: MAC, ...options }), RAM, 0x10_0000, log);
  const { chip } = bus;
  chip.writeConfig(0x10, 4, BAR);
  chip.writeConfig(0x14, 4, IO);
  chip.writeConfig(4, 2, 7);
  const read = (name: Named): number => bus.read('mem', BAR + offsetOf(name), 4);
  const write = (name: Named, value: number): void => bus.write('mem', BAR + offsetOf(name), 4, value >>> 0);
  const ram = new DataView(bus.ram.bytes.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((w, i) => ram.setUint32(at + 4 * i, w >>> 0, true));

  /** Descriptor n of the transmit ring, legacy or data: buffer's offset in RAM, bytes, flags of Command, options, VLAN tag. */
  const descriptor = (
    n: number,
    kind: Exclude<TxKind, 'context'>,
    buffer: number,
    length: number,
    flags: readonly string[] = ['EOP', 'RS'],
    { options = 0, tag = 0 } = {},
  ): void => {
    const bits =
      kind === 'legacy' ? command(legacyTxDescriptor, flags) : command(dataTxDescriptor, ['DEXT', ...flags]) | 0x100000;
    words(TX_RING + 16 * n, RAM + buffer, 0, bits | length, (tag << 16) | (options << 8));
  };

  /** Descriptor n of the transmit ring, a context: by default that of TCP over IPv4 without options. */
  const context = (n: number, fields: Partial<TxContext> & { tse?: boolean } = {}): void => {
    const c = {
      ...{ ipcss: 14, ipcso: 24, ipcse: 33, tucss: 34, tucso: 50, tucse: 0 },
      ...{ paylen: 0, hdrLen: 0, mss: 0, ip: true, tcp: true, ...fields },
    };
    const flags = ['DEXT', ...(c.ip ? ['IP'] : []), ...(c.tcp ? ['TCP'] : []), ...(c.tse ? ['TSE'] : [])];
    words(
      TX_RING + 16 * n,
      c.ipcss | (c.ipcso << 8) | (c.ipcse << 16),
      c.tucss | (c.tucso << 8) | (c.tucse << 16),
      command(contextTxDescriptor, flags) | c.paylen,
      (c.hdrLen << 8) | (c.mss << 16),
    );
  };

  /** Transmitter on, its ring of `count` descriptors empty. */
  const startTransmitter = (count = 64): void => {
    write('TDBAL', RAM + TX_RING);
    write('TDBAH', 0);
    write('TDLEN', 16 * count);
    write('TDH', 0);
    write('TDT', 0);
    write('TCTL', 2);
  };

  /** Receiver on, with `count` descriptors of 2 KiB buffers, all but one given to it; time passes until it takes frames. */
  const startReceiver = (rctl = 0x8002, count = 16): void => {
    for (let n = 0; n < count; n++) words(RX_RING + 16 * n, RAM + RX_BUFFERS + 0x800 * n, 0, 0, 0);
    write('RDBAL', RAM + RX_RING);
    write('RDBAH', 0);
    write('RDLEN', 16 * count);
    write('RDH', 0);
    write('RDT', count - 1);
    write('RCTL', rctl);
    bus.clock.advance(bus.clock.nowNs() + HOLD_NS);
  };

  /** Fails a test whose chip goes on and on. */
  const boundAccesses = (most: number): void => {
    const ramRead = bus.ram.read.bind(bus.ram);
    bus.ram.read = (gpa, buffer, offset, length) => {
      if (bus.ram.accesses > most) throw new Error(`more than ${most} DMA accesses`);
      return ramRead(gpa, buffer, offset, length);
    };
  };

  return {
    ...{ bus, chip: chip as E1000, read, write, ram, words },
    ...{ descriptor, context, startTransmitter, startReceiver, boundAccesses },
  };
}
