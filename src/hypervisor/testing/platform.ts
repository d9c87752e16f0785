/** A domain's platform devices on memory of their own, for specs. */
import { hpetRegisters } from '../../abi/registers/hpet.ts';
import { IOAPIC_PINS, ioapicPage, ioapicRegisters, IOREDTBL, IOREDTBL_FIELDS } from '../../abi/registers/ioapic.ts';
import { lapicRegisters } from '../../abi/registers/lapic.ts';
import { picRegisters } from '../../abi/registers/pic.ts';
import { pitRegisters } from '../../abi/registers/pit.ts';
import { pmRegisters } from '../../abi/registers/pm.ts';
import { rtcRegisters } from '../../abi/registers/rtc.ts';
import type { RegisterDef } from '../../base/registers.ts';
import { byName, type RegisterValue } from '../../base/testing/by-name.ts';
import { VirtualClock } from '../time/clock.ts';
import { Emul, type IoAccess, IoHandlers } from '../io/intercept.ts';
import { MachineMemory } from '../mm/memory.ts';
import { createPlatform } from '../chips/platform.ts';
import { TimerQueue } from '../time/timer.ts';
import { gpa } from '../../base/address.ts';

const LAPIC_BASE = 0xfee0_0000;
const IOAPIC_BASE = 0xfec0_0000;
const HPET_BASE = 0xfed0_0000;
const RTC_INDEX = 0x70;
const RTC_DATA = 0x71;
/** The low halves of the IO-APIC's redirection entries. */
const redirections: RegisterDef[] = Array.from({ length: IOAPIC_PINS }, (_, pin) => ({
  name: `IOREDTBL${pin}`,
  offset: IOREDTBL + 2 * pin,
  width: 4,
  access: 'rw',
  fields: IOREDTBL_FIELDS,
  doc: `redirection of pin ${pin}`,
}));

export function platformMachine(memory = MachineMemory.create({ frames: 16, maxGfn: 16 }), clock = new VirtualClock()) {
  const timers = new TimerQueue(memory, 1);
  const io = new IoHandlers();
  const kicks: number[] = [];
  const offsets: number[] = [];
  const platform = createPlatform(
    {
      memory,
      domid: 1,
      clock,
      timers,
      handlers: io,
      host: { kick: (v) => kicks.push(v), nmi() {}, init() {}, startup() {}, guestTsc: () => clock.tsc() },
    },
    { vcpus: 1, x2apic: false, tscDeadline: true, hpet: true },
  );
  const { controllers, irq: hub } = platform;
  platform.rtc.timeOffsets.add((seconds) => offsets.push(seconds));
  const access = (isWrite: boolean, address: number, lo: number, size: number): IoAccess => ({
    vcpu: 0,
    isWrite,
    address,
    size,
    lo,
    hi: 0,
  });
  const mmioWrite = (address: number, value: number, size = 4): void => {
    const device = io.findMmio(gpa(address), 0);
    if (device?.write(access(true, address, value, size)) !== Emul.okay)
      throw new Error(`write to 0x${address.toString(16)} was not served`);
  };
  const mmioRead = (address: number, size = 4): number => {
    const a = access(false, address, 0, size);
    if (io.findMmio(gpa(address), 0)?.read(a) !== Emul.okay) throw new Error(`read of 0x${address.toString(16)} was not served`);
    return a.lo;
  };
  const outb = (port: number, value: number, size = 1): void => {
    if (io.findPortio(port, size)?.action(access(true, port, value, size)) !== Emul.okay)
      throw new Error(`write to port 0x${port.toString(16)} was not served`);
  };
  const inb = (port: number, size = 1): number => {
    const a = access(false, port, 0xffffffff, size);
    if (io.findPortio(port, size)?.action(a) !== Emul.okay) throw new Error(`read of port 0x${port.toString(16)} was not served`);
    return a.lo;
  };
  const page = (base: number) => ({
    read: (offset: number, width: number) => mmioRead(base + offset, width),
    write: (offset: number, width: number, value: number) => mmioWrite(base + offset, value, width),
  });
  const select = byName(ioapicPage, page(IOAPIC_BASE));
  const lapic = byName(lapicRegisters, page(LAPIC_BASE));
  const ioapic = byName([...ioapicRegisters, ...redirections], {
    read: (index) => (select.write('IOREGSEL', index), select.read('IOWIN')),
    write: (index, _width, value) => {
      select.write('IOREGSEL', index);
      select.write('IOWIN', value);
    },
  });
  return {
    memory,
    clock,
    timers,
    io,
    hub,
    controllers,
    platform,
    kicks,
    offsets,
    mmioWrite,
    mmioRead,
    outb,
    inb,
    /** Registers by name: of the local APIC, the IO-APIC behind its window, the HPET, the RTC behind its index, and ports. */
    lapic,
    ioapic,
    hpet: byName(hpetRegisters, page(HPET_BASE)),
    rtc: byName(rtcRegisters, {
      read: (index) => (outb(RTC_INDEX, index), inb(RTC_DATA)),
      write: (index, _width, value) => {
        outb(RTC_INDEX, index);
        outb(RTC_DATA, value);
      },
    }),
    ports: byName([...picRegisters, ...pitRegisters, ...pmRegisters], {
      read: inb,
      write: (port, width, value) => outb(port, value, width),
    }),
    /** Let time pass, firing timers at their times. */
    advance(ns: number): void {
      const end = clock.nowNs() + ns;
      for (let next = timers.nextDeadline(); next <= end; next = timers.nextDeadline()) {
        clock.skipTo(next);
        timers.runExpired(clock.nowNs());
      }
      clock.skipTo(end);
    },
    /** Take and acknowledge the pending local APIC interrupt, -1 for none; it stays in service. */
    take(): number {
      const vector = controllers.vlapicHasPendingIrq(0);
      if (vector >= 0) controllers.vlapicAckPendingIrq(0, vector);
      return vector;
    },
    /** End of interrupt at the local APIC. */
    eoi: () => lapic.write('APIC_EOI', 0),
    /** Turns the local APIC on, its spurious vector 0xff. */
    enableLapic: () => lapic.write('APIC_SPIV', { vector: 0xff, enabled: 1 }),
    /** Write a redirection entry's low half. */
    redirect: (pin: number, low: RegisterValue) => ioapic.write(`IOREDTBL${pin}`, low),
    redirection: (pin: number) => ioapic.read(`IOREDTBL${pin}`),
  };
}
