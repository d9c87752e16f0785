import { platformTables } from '../../abi/registers/platform.ts';
import { explainAccess, type Explained, type RegisterDef } from '../../base/registers.ts';
import { chipsetTables } from '../../devices/chipset.ts';

/**
 * Devices that lie where every PC has them: named without looking for a BAR. `internal`: Xen itself answers
 * (hvm/io.c, vlapic, vioapic, hpet, vpit, rtc, pmtimer, vpic), no device model.
 */
interface PlatformDevice {
  readonly name: string;
  readonly space: 'mmio' | 'pio';
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
  /** Address of the register table's offset 0. */
  readonly base: number;
  readonly registers: readonly RegisterDef[];
  readonly internal: boolean;
}

/** Port 0x70 takes an index, so the clock's own table does not tell what a port is. */
const rtcPorts: readonly RegisterDef[] = [
  { name: 'RTC_INDEX', offset: 0x70, width: 1, access: 'rw', doc: 'index of the RTC register' },
  { name: 'RTC_DATA', offset: 0x71, width: 1, access: 'rw', doc: 'the RTC register selected' },
];

const at = (
  name: string,
  space: 'mmio' | 'pio',
  first: number,
  last: number,
  base: number,
  registers: readonly RegisterDef[],
  internal: boolean,
): PlatformDevice => ({ name, space, first, last, base, registers, internal });

const platformDevices: readonly PlatformDevice[] = [
  at('VGA', 'mmio', 0xa0000, 0xbffff, 0xa0000, [], false),
  at('VGA', 'pio', 0x3c0, 0x3df, 0x3c0, [], false),
  at('LAPIC', 'mmio', 0xfee00000, 0xfee00fff, 0xfee00000, platformTables['LAPIC']!, true),
  at('IOAPIC', 'mmio', 0xfec00000, 0xfec000ff, 0xfec00000, platformTables['IOAPIC']!, true),
  at('HPET', 'mmio', 0xfed00000, 0xfed003ff, 0xfed00000, platformTables['HPET']!, true),
  at('8259A', 'pio', 0x20, 0x21, 0, platformTables['8259A']!, true),
  at('8259A', 'pio', 0xa0, 0xa1, 0, platformTables['8259A']!, true),
  at('8259A', 'pio', 0x4d0, 0x4d1, 0, platformTables['8259A']!, true),
  at('8254', 'pio', 0x40, 0x43, 0, platformTables['8254']!, true),
  at('8254', 'pio', 0x61, 0x61, 0, platformTables['8254']!, true),
  at('RTC', 'pio', 0x70, 0x71, 0, rtcPorts, true),
  at('debug port', 'pio', 0xe9, 0xe9, 0, [], true),
  // PM1a_CNT, between the event block and the timer, is the device model's.
  at('PM', 'pio', 0xb000, 0xb003, 0, platformTables['PM']!, true),
  at('PIIX4_PM', 'pio', 0xb004, 0xb005, 0xb000, chipsetTables['PIIX4_PM']!, false),
  at('PM', 'pio', 0xb008, 0xb00b, 0, platformTables['PM']!, true),
  at('PM', 'pio', 0x1f40, 0x1f4b, 0, [], true),
  at('440FX', 'pio', 0xcf8, 0xcff, 0xcf8, chipsetTables['440FX']!, false),
  at('16550A', 'pio', 0x3f8, 0x3ff, 0x3f8, chipsetTables['16550A']!, false),
];

/** The device that every PC has at an address, if any. */
export const platformDevice = (space: 'mmio' | 'pio', addr: number): PlatformDevice | undefined =>
  platformDevices.find((d) => d.space === space && addr >= d.first && addr <= d.last);

/** Names the registers an access touched; without a width it is taken to cover the register it begins at. */
export function explainPlatform(
  device: PlatformDevice,
  addr: number,
  width: number | undefined,
  data: bigint | undefined,
  dir?: 'read' | 'write',
  mode?: string,
): Explained[] {
  const offset = addr - device.base;
  const bytes = width ?? device.registers.find((r) => offset >= r.offset && offset < r.offset + r.width)?.width ?? 1;
  return explainAccess(device.registers, offset, bytes, Number(BigInt.asUintN(32, data ?? 0n)), mode, dir);
}
