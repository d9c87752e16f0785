import { byName, masks, valueOf } from '../../../../base/testing/by-name.ts';
import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { COMMAND_ON, pciConfig } from '../../../testing/pci-config.ts';
import { Ne2kPci, type Ne2kOptions } from '../core.ts';
import { CMD_PAGE_SHIFT } from '../port.ts';
import { NE2K_DATA_PORT, NE2K_PAGED_PORTS, ne2kRegisters, type Ne2kRegister, type Ne2kWritten } from '../registers.ts';

export const MAC = fromHex('525400123456');
export const IO = 0xc000;

const fieldsOf = (name: Ne2kRegister) => ne2kRegisters.find((r) => r.name === name)!.fields;
const fieldsOfWritten = (name: Ne2kWritten) => ne2kRegisters.find((r) => r.written?.name === name)!.written!.fields;
/** Bits of the registers, `CMD.STA`, by the data sheet's names; `ISR` has those of IMR, too. */
const commandBits = masks('E8390_CMD', fieldsOf('E8390_CMD'), 'STP', 'STA', 'TXP');
const command = (fields: Readonly<Record<string, number | string>>): number =>
  valueOf('E8390_CMD', fieldsOf('E8390_CMD'), fields);
export const CMD = {
  ...commandBits,
  /** Remote DMA. */
  READ: command({ RD: 'read' }),
  WRITE: command({ RD: 'write' }),
  ABORT: command({ RD: 'abort' }),
} as const;
/** Command's bits that select a page. */
export const page = (n: number): number => command({ PS: n });
export const ISR = masks('EN0_ISR', fieldsOf('EN0_ISR'), 'PRX', 'PTX', 'RXE', 'TXE', 'OVW', 'CNT', 'RDC', 'RST');
/** All that can interrupt. */
const ISR_CAUSES = ISR.PRX | ISR.PTX | ISR.RXE | ISR.TXE | ISR.OVW | ISR.CNT | ISR.RDC;
export const TSR = masks('EN0_TSR', fieldsOf('EN0_TSR'), 'PTX');
export const RSR = masks('EN0_RSR', fieldsOf('EN0_RSR'), 'PRX', 'PHY');
export const RXCR = masks('EN0_RXCR', fieldsOfWritten('EN0_RXCR'), 'AB', 'AM', 'PRO');
export const DCFG = masks('EN0_DCFG', fieldsOfWritten('EN0_DCFG'), 'WTS');
/** As Linux's driver sets DCFG up: no loopback, a FIFO threshold of 8 bytes. */
export const DCFG_BYTES = valueOf('EN0_DCFG', fieldsOfWritten('EN0_DCFG'), { LS: 1, FT: 2 });

/** The port where a register lies on its page. */
export const portOf = (name: Ne2kRegister | Ne2kWritten): number =>
  ne2kRegisters.find((r) => r.name === name || r.written?.name === name)!.offset & 0xff;
const COMMAND_PORT = portOf('E8390_CMD');

/**
 * An RTL8029 on a test bus, its BAR in place and Command = 7. `read` and `write` take registers by the name that a read or a
 * write has, and turn to their page; `readAt` and `writeAt` take port and size.
 */
export function setUp(options: Partial<Ne2kOptions> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Ne2kPci(slot, wire, { mac: MAC, ...options }), undefined, undefined, log);
  const { chip } = bus;
  const pci = pciConfig(chip);
  pci.write('BAR0', IO);
  pci.write('Command', COMMAND_ON);
  const readAt = (port: number, size: number): number => bus.read('io', IO + port, size);
  const writeAt = (port: number, size: number, value: number): void => bus.write('io', IO + port, size, value);
  /** Turns to a register's page if it has one; its port. */
  const turn = (place: number): number => {
    const port = place & 0xff;
    if (port === COMMAND_PORT || port >= NE2K_PAGED_PORTS) return port;
    const selected = readAt(COMMAND_PORT, 1);
    if (selected >> CMD_PAGE_SHIFT !== place >> 8)
      writeAt(COMMAND_PORT, 1, (selected & (CMD.STP | CMD.STA)) | CMD.ABORT | page(place >> 8));
    return port;
  };
  const { read, write } = byName<Ne2kRegister | Ne2kWritten>(ne2kRegisters, {
    read: (place, width) => readAt(turn(place), width),
    write: (place, width, value) => writeAt(turn(place), width, value),
  });
  /** The data port at a width: 1, 2 or 4 bytes. */
  const readData = (size: number): number => readAt(NE2K_DATA_PORT, size);
  const writeData = (size: number, value: number): void => writeAt(NE2K_DATA_PORT, size, value);
  /** Remote DMA: address and bytes of what the data port moves next. */
  const remote = (direction: 'read' | 'write', address: number, bytes: number): void => {
    write('EN0_RSARLO', address & 0xff);
    write('EN0_RSARHI', address >> 8);
    write('EN0_RCNTLO', bytes & 0xff);
    write('EN0_RCNTHI', bytes >> 8);
    write('E8390_CMD', (read('E8390_CMD') & (CMD.STP | CMD.STA)) | (direction === 'read' ? CMD.READ : CMD.WRITE));
  };
  const readMemory = (address: number, bytes: number): Uint8Array => {
    remote('read', address, bytes);
    return Uint8Array.from({ length: bytes }, () => readData(1));
  };
  const writeMemory = (address: number, data: Uint8Array): void => {
    remote('write', address, data.length);
    for (const byte of data) writeData(1, byte);
  };
  /** As a driver does: 8-bit data port, ring from page `start` to `stop`, its own, broadcast and some multicast frames. */
  const start = (first = 0x46, stop = 0xc0): void => {
    read('NE_RESET');
    write('E8390_CMD', CMD.ABORT | CMD.STP);
    write('EN0_DCFG', DCFG_BYTES);
    write('EN0_RXCR', RXCR.AB);
    write('EN0_STARTPG', first);
    write('EN0_STOPPG', stop);
    write('EN0_BOUNDARY', first);
    write('EN1_CURPAG', first + 1);
    write('EN0_ISR', 0xff);
    write('EN0_IMR', ISR_CAUSES);
    write('E8390_CMD', CMD.ABORT | CMD.STA);
  };
  /** Sends `length` bytes from page `from`. */
  const transmit = (from: number, length: number): void => {
    write('EN0_TPSR', from);
    write('EN0_TCNTLO', length & 0xff);
    write('EN0_TCNTHI', length >> 8);
    write('E8390_CMD', CMD.ABORT | CMD.TXP | CMD.STA);
  };
  return {
    ...{ bus, chip: chip as Ne2kPci, pci, read, write, readAt, writeAt, readData, writeData },
    ...{ remote, readMemory, writeMemory, start, transmit },
  };
}
