/**
 * The MC146818 clock and its CMOS memory (Xen: arch/x86/hvm/rtc.c), ports 0x70 and 0x71, interrupt 8. The time is the
 * machine's clock plus an offset the guest sets; flags whose interrupts are off are worked out when they are read. State in
 * machine memory under its `virtualTimer` lock.
 */
import { Listeners } from '../../base/listeners.ts';
import { rtcRegisters } from '../../abi/registers/rtc.ts';
import { Emul, type IoAccess, type IoHandlers } from '../io/intercept.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import type { PlatformContext } from './platform-context.ts';
import type { Timer } from '../time/timer.ts';

const reg = (name: string): number => rtcRegisters.find((r) => r.name === name)!.offset;
const SECONDS = reg('RTC_SECONDS');
const MINUTES = reg('RTC_MINUTES');
const HOURS = reg('RTC_HOURS');
const DAY_OF_WEEK = reg('RTC_DAY_OF_WEEK');
const DAY_OF_MONTH = reg('RTC_DAY_OF_MONTH');
const MONTH = reg('RTC_MONTH');
const YEAR = reg('RTC_YEAR');
const A = reg('RTC_REG_A');
const B = reg('RTC_REG_B');
const C = reg('RTC_REG_C');
const D = reg('RTC_REG_D');
const CENTURY = reg('RTC_CENTURY');
const ALARMS = [reg('RTC_SECONDS_ALARM'), reg('RTC_MINUTES_ALARM'), reg('RTC_HOURS_ALARM')] as const;
const isTime = (index: number): boolean => index === CENTURY || (index <= YEAR && !ALARMS.includes(index as never));

const UIP = 0x80;
const B_24H = 0x02;
const B_BINARY = 0x04;
const B_SET = 0x80;
const UF = 0x10;
const AF = 0x20;
const PF = 0x40;
const IRQF = 0x80;

/** State: lock, index, interrupt suppressed, ready; doubles; then the CMOS bytes. */
const INDEX = 1;
const SUPPRESSED = 2;
const READY = 3;
const OFFSET_S = 0; // guest's time − machine's time, seconds
const FLAGS_AT = 1; // ns at which register C was last brought up to date
const DOUBLES_AT = 16;
const CMOS_AT = 32;
const CMOS_SIZE = 128;
const STATE_SIZE = CMOS_AT + CMOS_SIZE;

const RTC_IRQ = 8;
/** Before the update of a second UIP is shown for this long (data sheet: 244 µs, then 1,984 µs of updating). */
const UIP_NS = 2_228_000;

export class Rtc {
  private readonly u8: Uint8Array;
  private readonly u32: Uint32Array;
  private readonly f64: Float64Array;
  private readonly at: number;
  private readonly doubles: number;
  private readonly cmos: number;
  private readonly lock: Lock;
  private readonly context: PlatformContext;
  private readonly periodic: Timer;
  private readonly second: Timer;
  /** The guest has set its clock: by how many seconds it is now ahead of the host's. Called without a lock. */
  readonly timeOffsets = new Listeners<number>();

  constructor(context: PlatformContext) {
    const { memory, domid } = context;
    const base = memory.xenheap(`rtc.d${domid}`, STATE_SIZE);
    this.context = context;
    this.u8 = memory.u8;
    this.u32 = memory.u32;
    this.f64 = memory.f64;
    this.at = base >>> 2;
    this.doubles = (base + DOUBLES_AT) / 8;
    this.cmos = base + CMOS_AT;
    this.lock = new Lock(memory, base, LockOrder.virtualTimer, `rtc.d${domid}`);
    this.periodic = context.timers.create(`rtc.d${domid} periodic`, () => this.expired());
    this.second = context.timers.create(`rtc.d${domid} second`, () => this.expired());
    if (this.u32[this.at + READY] === 0) this.reset();
  }

  register(io: IoHandlers): void {
    io.registerPortioHandler('rtc', 0x70, 2, (access) => this.access(access));
  }

  reset(): void {
    this.u8.fill(0, this.cmos, this.cmos + CMOS_SIZE);
    for (const r of rtcRegisters) if (r.reset !== undefined) this.u8[this.cmos + r.offset] = r.reset;
    this.u32[this.at + INDEX] = 0;
    this.u32[this.at + SUPPRESSED] = 0;
    this.u32[this.at + READY] = 1;
    this.f64[this.doubles + OFFSET_S] = 0;
    this.f64[this.doubles + FLAGS_AT] = this.context.clock.nowNs();
    this.arm();
  }

  /** The HPET's legacy replacement takes interrupt 8 away, or gives it back. */
  suppressIrq(on: boolean): void {
    this.lock.acquire();
    this.u32[this.at + SUPPRESSED] = on ? 1 : 0;
    this.updateIrq();
    this.lock.release();
  }

  private access(access: IoAccess): Emul {
    let offset: number | undefined;
    this.lock.acquire();
    if (!(access.address & 1)) {
      if (access.isWrite) this.u32[this.at + INDEX] = access.lo & 0x7f;
      // The index register cannot be read; a word written at 0x70 is index and data.
      else access.lo = 0xff;
      if (access.isWrite && access.size > 1) offset = this.write((access.lo >>> 8) & 0xff);
    } else if (access.isWrite) offset = this.write(access.lo & 0xff);
    else access.lo = this.read();
    this.lock.release();
    if (offset !== undefined) this.timeOffsets.call(offset);
    return Emul.okay;
  }

  private read(): number {
    const index = this.u32[this.at + INDEX]!;
    if (index === A) return this.get(A) | (this.running() && this.intoSecond() >= 1e9 - UIP_NS ? UIP : 0);
    if (index === C) {
      this.noteFlags();
      const flags = this.get(C);
      this.put(C, 0);
      this.updateIrq();
      this.arm();
      return flags;
    }
    if (isTime(index) && this.running()) this.timeToCmos();
    return this.get(index);
  }

  /** Gives the new offset when the guest has set its clock. */
  private write(value: number): number | undefined {
    const index = this.u32[this.at + INDEX]!;
    if (index === C || index === D) return undefined;
    if (isTime(index)) {
      if (!this.running()) {
        this.put(index, value);
        return undefined;
      }
      this.timeToCmos();
      this.put(index, value);
      return this.timeFromCmos();
    }
    this.noteFlags();
    if (index !== A && index !== B) {
      this.put(index, value);
      return undefined;
    }
    const ran = this.running();
    if (ran) this.timeToCmos();
    this.put(index, index === A ? value & 0x7f : value);
    if (index === B && value & B_SET) this.put(B, value & ~UF); // setting the clock turns update interrupts off
    const offset = !ran && this.running() ? this.timeFromCmos() : undefined;
    this.updateIrq();
    this.arm();
    return offset;
  }

  // --- time

  /** The clock ticks: not being set, and the divider chain runs at its one right setting. */
  private running(): boolean {
    return !(this.get(B) & B_SET) && (this.get(A) & 0x70) === 0x20;
  }

  /** The guest's time of day, in seconds since 1970 with a fraction. */
  private timeNs(): number {
    const { clock } = this.context;
    return (clock.epochUs % 1e6) * 1000 + clock.nowNs();
  }

  private seconds(atNs: number): number {
    return (
      Math.floor(this.context.clock.epochUs / 1e6) +
      Math.floor(((this.context.clock.epochUs % 1e6) * 1000 + atNs) / 1e9) +
      this.f64[this.doubles + OFFSET_S]!
    );
  }

  /** Nanoseconds since the last full second. */
  private intoSecond(): number {
    return this.timeNs() % 1e9;
  }

  private timeToCmos(): void {
    const time = new Date(this.seconds(this.context.clock.nowNs()) * 1000);
    const year = time.getUTCFullYear();
    const hours = time.getUTCHours();
    this.put(SECONDS, this.encode(time.getUTCSeconds()));
    this.put(MINUTES, this.encode(time.getUTCMinutes()));
    this.put(HOURS, this.get(B) & B_24H ? this.encode(hours) : this.encode(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0));
    this.put(DAY_OF_WEEK, this.encode(time.getUTCDay() + 1));
    this.put(DAY_OF_MONTH, this.encode(time.getUTCDate()));
    this.put(MONTH, this.encode(time.getUTCMonth() + 1));
    this.put(YEAR, this.encode(year % 100));
    this.put(CENTURY, this.encode(Math.floor(year / 100)));
  }

  /** Take the time in the registers as the time now; gives the offset from the machine's clock. */
  private timeFromCmos(): number {
    const year = this.decode(this.get(CENTURY)) * 100 + this.decode(this.get(YEAR));
    const wanted =
      Date.UTC(
        year,
        this.decode(this.get(MONTH)) - 1,
        this.decode(this.get(DAY_OF_MONTH)),
        this.hours(this.get(HOURS)),
        this.decode(this.get(MINUTES)),
        this.decode(this.get(SECONDS)),
      ) / 1000;
    const offset = Number.isFinite(wanted)
      ? this.f64[this.doubles + OFFSET_S]! + wanted - this.seconds(this.context.clock.nowNs())
      : this.f64[this.doubles + OFFSET_S]!;
    this.f64[this.doubles + OFFSET_S] = offset;
    return offset;
  }

  private hours(value: number): number {
    if (this.get(B) & B_24H) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + (value & 0x80 ? 12 : 0);
  }

  private encode(value: number): number {
    return this.get(B) & B_BINARY ? value : ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;
  }

  private decode(value: number): number {
    return this.get(B) & B_BINARY ? value : (value >> 4) * 10 + (value & 0xf);
  }

  // --- flags and interrupts

  /** Period of the periodic flag in ns, 0 for none: rates 1 and 2 are those of 8 and 9. */
  private periodNs(): number {
    const rate = this.get(A) & 0xf;
    if (rate === 0 || (this.get(A) & 0x70) !== 0x20) return 0;
    return (2 ** ((rate <= 2 ? rate + 7 : rate) - 1) / 32768) * 1e9;
  }

  /** Set in register C what has happened since this was last done. */
  private noteFlags(): void {
    const now = this.context.clock.nowNs();
    const last = this.f64[this.doubles + FLAGS_AT]!;
    this.f64[this.doubles + FLAGS_AT] = now;
    const period = this.periodNs();
    let flags = this.get(C);
    if (period > 0 && Math.floor(now / period) !== Math.floor(last / period)) flags |= PF;
    if (this.running()) {
      const from = this.seconds(last);
      const to = this.seconds(now);
      if (to !== from) flags |= UF;
      if (!(flags & AF) && this.alarmBetween(from, to)) flags |= AF;
    }
    this.put(C, this.withIrqf(flags));
  }

  /** Does the alarm match a second after `from`, up to `to`? No alarm is rarer than once a day. */
  private alarmBetween(from: number, to: number): boolean {
    const first = Math.max(from + 1, to - 86_399);
    const [second, minute, hour] = ALARMS.map((index) => this.get(index)) as [number, number, number];
    const any = (value: number): boolean => value >= 0xc0;
    for (let t = first; t <= to; t++) {
      const day = ((t % 86_400) + 86_400) % 86_400;
      if (any(second) || this.decode(second) === day % 60) {
        if (
          (any(minute) || this.decode(minute) === Math.floor(day / 60) % 60) &&
          (any(hour) || this.hours(hour) === Math.floor(day / 3600))
        )
          return true;
      }
    }
    return false;
  }

  private updateIrq(): void {
    this.put(C, this.withIrqf(this.get(C)));
    // With the line taken by the HPET, leave its level to that.
    if (!this.u32[this.at + SUPPRESSED]) this.context.irq.setIsaIrqLevel(RTC_IRQ, (this.get(C) & IRQF) !== 0);
  }

  /** Register C with IRQF as its flags and their enables make it. */
  private withIrqf(flags: number): number {
    return flags & this.get(B) & (PF | AF | UF) ? flags | IRQF : flags & ~IRQF;
  }

  /** Timers run only for flags whose interrupts are on and which are not set yet. */
  private arm(): void {
    const now = this.context.clock.nowNs();
    const wanted = this.get(B) & ~this.get(C);
    const period = this.periodNs();
    if (wanted & PF && period > 0) this.periodic.set(Math.ceil((Math.floor(now / period) + 1) * period));
    else this.periodic.stop();
    if (wanted & (UF | AF) && this.running()) this.second.set(now + 1e9 - this.intoSecond());
    else this.second.stop();
  }

  private expired(): void {
    this.lock.acquire();
    this.noteFlags();
    this.updateIrq();
    this.arm();
    this.lock.release();
  }

  private get(index: number): number {
    return this.u8[this.cmos + index]!;
  }

  private put(index: number, value: number): void {
    this.u8[this.cmos + index] = value;
  }
}
