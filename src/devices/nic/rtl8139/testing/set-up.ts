import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { byName } from '../../../../base/testing/by-name.ts';
import { Rtl8139, type Rtl8139Options } from '../core.ts';
import {
  CMD_RX_ENABLE,
  CMD_TX_ENABLE,
  CP_RX_ENABLE,
  CP_TX_ENABLE,
  RX_ALL_PHYS,
  RX_BROADCAST,
  RX_MULTICAST,
  RX_MY_PHYS,
} from '../port.ts';
import { rtl8139Registers } from '../registers.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the memory BAR. */
export const RAM = 0x100_0000;
export const BAR = 0xe000_0000;

/** RxConfig that lets every good frame in. */
export const RX_EVERY_FRAME = RX_ALL_PHYS | RX_MY_PHYS | RX_MULTICAST | RX_BROADCAST;
/** Word 0 of a C+ descriptor: the chip's, last of its ring, first and last of its frame; beside these the size. */
export const OWN = 0x80000000;
export const FIRST = 0x20000000;
export const LAST = 0x10000000;
/** Word 0 of a receive descriptor given back: a frame in one buffer, to the station's own address. */
export const RECEIVED = FIRST | LAST | 0x02000000;

/**
 * An RTL8139 on a test bus, its BARs in place and Command = 7. `read` and `write` take registers by name, `readAt` and
 * `writeAt` offset and size in the register block.
 */
export function setUp(options: Partial<Rtl8139Options> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Rtl8139(slot, wire, { mac: MAC, ...options }), RAM, 0x10_0000, log);
  const { chip } = bus;
  chip.writeConfig(0x10, 4, 0xc000);
  chip.writeConfig(0x14, 4, BAR);
  chip.writeConfig(4, 2, 7);
  const readAt = (offset: number, size: number): number => bus.read('mem', BAR + offset, size);
  const writeAt = (offset: number, size: number, value: number): void => bus.write('mem', BAR + offset, size, value);
  const { read, write, field, offset } = byName(rtl8139Registers, { read: readAt, write: writeAt });
  /** MAC0 to MAC5. */
  const station = (): number[] => [0, 1, 2, 3, 4, 5].map((n) => read(`MAC${n}`));
  const ram = new DataView(bus.ram.bytes.buffer);
  /** One descriptor at RAM + 16 × n: words 0 and 1, and the buffer's offset in RAM. */
  const descriptor = (n: number, command: number, vlan: number, buffer: number): void => {
    [command, vlan, RAM + buffer, 0].forEach((word, i) => ram.setUint32(16 * n + 4 * i, word, true));
  };
  /** C+ both ways: transmit ring at RAM, receive ring at RAM + 0x1000. */
  const startCplus = (): void => {
    write('CpCmd', CP_TX_ENABLE | CP_RX_ENABLE);
    write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
    write('TxRingAddr', RAM);
    write('RxRingAddr', RAM + 0x1000);
    write('RxConfig', RX_MY_PHYS | RX_MULTICAST | RX_BROADCAST);
    write('IntrMask', 0xffff);
  };
  return { bus, chip: chip as Rtl8139, read, write, field, offset, station, readAt, writeAt, ram, descriptor, startCplus };
}
