import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { Rtl8139, type Rtl8139Options } from '../core.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the memory BAR. */
export const RAM = 0x100_0000;
export const BAR = 0xe000_0000;

/** An RTL8139 on a test bus, its BARs in place and Command = 7. Offsets are into the register block or into RAM. */
export function setUp(options: Partial<Rtl8139Options> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Rtl8139(slot, wire, { mac: MAC, ...options }), RAM, 0x10_0000, log);
  const { chip } = bus;
  chip.writeConfig(0x10, 4, 0xc000);
  chip.writeConfig(0x14, 4, BAR);
  chip.writeConfig(4, 2, 7);
  const read = (offset: number, size: number): number => bus.read('mem', BAR + offset, size);
  const write = (offset: number, size: number, value: number): void => bus.write('mem', BAR + offset, size, value);
  const ram = new DataView(bus.ram.bytes.buffer);
  /** One descriptor at RAM + 16 × n: words 0 and 1, and the buffer's offset in RAM. */
  const descriptor = (n: number, command: number, vlan: number, buffer: number): void => {
    [command, vlan, RAM + buffer, 0].forEach((word, i) => ram.setUint32(16 * n + 4 * i, word, true));
  };
  /** C+ both ways: transmit ring at RAM, receive ring at RAM + 0x1000. */
  const startCplus = (): void => {
    write(0xe0, 2, 3);
    write(0x37, 1, 0x0c);
    write(0x20, 4, RAM);
    write(0xe4, 4, RAM + 0x1000);
    write(0x44, 4, 0x0e);
    write(0x3c, 2, 0xffff);
  };
  return { bus, chip: chip as Rtl8139, read, write, ram, descriptor, startCplus };
}
