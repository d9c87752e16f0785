/** A domain's platform devices on memory of their own, for specs. */
import { VirtualClock } from '../time/clock.ts';
import { Emul, type IoAccess, IoHandlers } from '../io/intercept.ts';
import { MachineMemory } from '../mm/memory.ts';
import { createPlatform } from '../chips/platform.ts';
import { TimerQueue } from '../time/timer.ts';
import { gpa } from '../../base/address.ts';

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
  const { controllers, irq: hub, rtc } = platform;
  rtc.timeOffsets.add((seconds) => offsets.push(seconds));
  const access = (isWrite: boolean, address: number, lo: number, size: number): IoAccess => ({
    vcpu: 0,
    isWrite,
    address,
    size,
    lo,
    hi: 0,
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
    mmioWrite(address: number, value: number, size = 4): void {
      const device = io.findMmio(gpa(address), 0);
      if (device?.write(access(true, address, value, size)) !== Emul.okay)
        throw new Error(`write to 0x${address.toString(16)} was not served`);
    },
    mmioRead(address: number, size = 4): number {
      const a = access(false, address, 0, size);
      if (io.findMmio(gpa(address), 0)?.read(a) !== Emul.okay)
        throw new Error(`read of 0x${address.toString(16)} was not served`);
      return a.lo;
    },
    outb(port: number, value: number, size = 1): void {
      if (io.findPortio(port, size)?.action(access(true, port, value, size)) !== Emul.okay)
        throw new Error(`write to port 0x${port.toString(16)} was not served`);
    },
    inb(port: number, size = 1): number {
      const a = access(false, port, 0xffffffff, size);
      if (io.findPortio(port, size)?.action(a) !== Emul.okay)
        throw new Error(`read of port 0x${port.toString(16)} was not served`);
      return a.lo;
    },
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
    eoi(): void {
      this.mmioWrite(0xfee000b0, 0);
    },
    /** Write a redirection entry's low half. */
    redirect(pin: number, low: number): void {
      this.mmioWrite(0xfec00000, 0x10 + pin * 2);
      this.mmioWrite(0xfec00010, low);
    },
    redirection(pin: number): number {
      this.mmioWrite(0xfec00000, 0x10 + pin * 2);
      return this.mmioRead(0xfec00010);
    },
  };
}
