import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { Ne2kPci, type Ne2kOptions } from '../core.ts';
import { ne2kRegisters, type Ne2kRegister, type Ne2kWritten } from '../registers.ts';

export const MAC = fromHex('525400123456');
export const IO = 0xc000;

/** Where a register lies, by the name a read or a write has. */
const places = new Map<string, number>(
  ne2kRegisters.flatMap((r) => [[r.name, r.offset], ...(r.written ? [[r.written.name, r.offset] as const] : [])] as const),
);

/** An RTL8029 on a test bus, its BAR in place and Command = 7. */
export function setUp(options: Partial<Ne2kOptions> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Ne2kPci(slot, wire, { mac: MAC, ...options }), undefined, undefined, log);
  const { chip } = bus;
  chip.writeConfig(0x10, 4, IO);
  chip.writeConfig(4, 2, 7);
  const read = (port: number, size: number): number => bus.read('io', IO + port, size);
  const write = (port: number, size: number, value: number): void => bus.write('io', IO + port, size, value);
  /** Turns to a register's page if it has one; its port. */
  const turn = (name: string): number => {
    const offset = places.get(name)!;
    const page = offset >> 8;
    const port = offset & 0xff;
    if (port > 0 && port < 0x10 && read(0, 1) >> 6 !== page) write(0, 1, (read(0, 1) & 0x03) | 0x20 | (page << 6));
    return port;
  };
  const get = (name: Ne2kRegister): number => read(turn(name), 1);
  const put = (name: Ne2kRegister | Ne2kWritten, value: number): void => write(turn(name), 1, value);
  /** Remote DMA: address and bytes of what the data port moves next, command 1 read, 2 write. */
  const remote = (command: 1 | 2, address: number, bytes: number): void => {
    put('EN0_RSARLO', address & 0xff);
    put('EN0_RSARHI', address >> 8);
    put('EN0_RCNTLO', bytes & 0xff);
    put('EN0_RCNTHI', bytes >> 8);
    write(0, 1, (read(0, 1) & 0x03) | (command << 3));
  };
  const readMemory = (address: number, bytes: number): Uint8Array => {
    remote(1, address, bytes);
    return Uint8Array.from({ length: bytes }, () => read(0x10, 1));
  };
  const writeMemory = (address: number, data: Uint8Array): void => {
    remote(2, address, data.length);
    for (const byte of data) write(0x10, 1, byte);
  };
  /** As a driver does: 8-bit data port, ring from page `start` to `stop`, its own, broadcast and some multicast frames. */
  const start = (first = 0x46, stop = 0xc0): void => {
    read(0x1f, 1);
    put('E8390_CMD', 0x21);
    put('EN0_DCFG', 0x48);
    put('EN0_RXCR', 0x04);
    put('EN0_STARTPG', first);
    put('EN0_STOPPG', stop);
    put('EN0_BOUNDARY', first);
    put('EN1_CURPAG', first + 1);
    put('EN0_ISR', 0xff);
    put('EN0_IMR', 0x7f);
    put('E8390_CMD', 0x22);
  };
  /** Sends `length` bytes from page `page`. */
  const transmit = (page: number, length: number): void => {
    put('EN0_TPSR', page);
    put('EN0_TCNTLO', length & 0xff);
    put('EN0_TCNTHI', length >> 8);
    put('E8390_CMD', 0x26);
  };
  return { bus, chip: chip as Ne2kPci, read, write, get, put, remote, readMemory, writeMemory, start, transmit };
}
