/**
 * The ACPI power management timer and PM1a event block (Xen: arch/x86/hvm/pmtimer.c): status, enable, SCI 9. State in
 * machine memory under its `virtualTimer` lock.
 */
import { lowBytes } from '../../base/width.ts';
import { pmRegisters, PM_TIMER_FREQUENCY } from '../../abi/registers/pm.ts';
import { Emul, type IoAccess, type IoHandlers } from '../io/intercept.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import type { PlatformContext } from './platform-context.ts';
import type { Timer } from '../time/timer.ts';

const register = (name: string) => pmRegisters.find((r) => r.name === name)!;
const status = register('PM1a_STS');
const enable = register('PM1a_EN');
const timer = register('PM_TMR');

const STS = 1;
const EN = 2;
/** Changes of the counter's top bit that status tells of already. */
const TOGGLES = 3;
const STATE_SIZE = 16;

const SCI_IRQ = 9;
const TMR_STS = 1;
/** Half a turn of the counter. */
const TOGGLE_TICKS = 2 ** 31;
const NS_PER_TICK = 1e9 / PM_TIMER_FREQUENCY;

export class PmTimer {
  private readonly u32: Uint32Array;
  private readonly at: number;
  private readonly lock: Lock;
  private readonly context: PlatformContext;
  private readonly toggle: Timer;

  constructor(context: PlatformContext) {
    const { memory, domid } = context;
    const base = memory.xenheap(`pmtimer.d${domid}`, STATE_SIZE);
    this.context = context;
    this.u32 = memory.u32;
    this.at = base >>> 2;
    this.lock = new Lock(memory, base, LockOrder.virtualTimer, `pmtimer.d${domid}`);
    this.toggle = context.timers.create(`pmtimer.d${domid}`, () => this.expired());
  }

  register(io: IoHandlers): void {
    io.registerPortioHandler('pmtimer', timer.offset, timer.width, (access) => this.readTimer(access));
    io.registerPortioHandler('pm1a_evt', status.offset, status.width + enable.width, (access) => this.event(access));
  }

  reset(): void {
    this.u32.fill(0, this.at + STS, this.at + STATE_SIZE / 4);
    this.update();
  }

  private readTimer(access: IoAccess): Emul {
    if (access.isWrite) return Emul.okay;
    const value = Math.floor(this.context.clock.nowNs() / NS_PER_TICK) % 2 ** 32;
    access.lo = Math.floor(value / 2 ** ((access.address - timer.offset) * 8)) % 2 ** (access.size * 8);
    return Emul.okay;
  }

  private event(access: IoAccess): Emul {
    const at = access.address - status.offset;
    this.lock.acquire();
    this.noteToggles();
    if (access.isWrite) {
      for (let i = 0; i < access.size; i++) this.writeByte(at + i, (access.lo >>> (i * 8)) & 0xff);
      this.update();
    } else {
      const both = (this.u32[this.at + STS]! | (this.u32[this.at + EN]! << 16)) >>> (at * 8);
      access.lo = lowBytes(both, access.size);
    }
    this.lock.release();
    return Emul.okay;
  }

  private writeByte(offset: number, value: number): void {
    const shift = (offset & 1) * 8;
    if (offset < 2) this.u32[this.at + STS]! &= ~(value << shift);
    else {
      const bits = 0xff << shift;
      this.u32[this.at + EN] = ((this.u32[this.at + EN]! & ~bits) | (value << shift)) & enable.writable!;
    }
  }

  private expired(): void {
    this.lock.acquire();
    this.noteToggles();
    this.update();
    this.lock.release();
  }

  /** Status bit TMR is set whenever the counter's top bit has changed. */
  private noteToggles(): void {
    const toggles = Math.floor(this.context.clock.nowNs() / NS_PER_TICK / TOGGLE_TICKS);
    if (this.u32[this.at + TOGGLES] === toggles) return;
    this.u32[this.at + TOGGLES] = toggles;
    this.u32[this.at + STS]! |= TMR_STS;
  }

  /** Level of the SCI, and the timer for the next change of the top bit while somebody wants to know of it. */
  private update(): void {
    const pending = (this.u32[this.at + STS]! & this.u32[this.at + EN]!) !== 0;
    this.context.irq.setIsaIrqLevel(SCI_IRQ, pending);
    if (this.u32[this.at + EN]! & TMR_STS && !(this.u32[this.at + STS]! & TMR_STS))
      this.toggle.set(Math.ceil((this.u32[this.at + TOGGLES]! + 1) * TOGGLE_TICKS * NS_PER_TICK));
    else this.toggle.stop();
  }
}
