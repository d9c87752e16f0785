/**
 * The high precision event timer (Xen: arch/x86/hvm/hpet.c): a 64-bit counter at 62.5 MHz, three timers, legacy
 * replacement of interrupts 0 and 8. State in machine memory under its `virtualTimer` lock. 64-bit values are two words.
 */
import { lowBytes } from '../../base/width.ts';
import { HPET_ROUTES, HPET_TICK_NS, HPET_TIMERS, hpetRegisters } from '../../abi/registers/hpet.ts';
import type { Gpa } from '../../base/address.ts';
import { Emul, type HvmMmioOps, type IoAccess } from '../io/intercept.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import { MIN_TIMER_PERIOD_NS, type PlatformContext } from './platform-context.ts';
import type { Timer } from '../time/timer.ts';

const HPET_BASE = 0xfed00000;
const HPET_SIZE = 0x400;
const CFG = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const TIMER0 = 0x100;
const TIMER_STRIDE = 0x20;
const CMP = 8;

const CFG_ENABLE = 1;
const CFG_LEGACY = 2;
const TN_LEVEL = 1 << 1;
const TN_ENABLE = 1 << 2;
const TN_PERIODIC = 1 << 3;
const TN_SETVAL = 1 << 6;
const TN_32BIT = 1 << 8;

/** State: lock, ready, then the registers at their offsets, the periods, and the time at which counting began. */
const READY = 1;
const REGISTERS = 4; // words
const REGISTER_WORDS = 0x160 / 4;
const PERIODS = REGISTERS + REGISTER_WORDS; // low, high of each timer
const DOUBLES = PERIODS + HPET_TIMERS * 2; // f64: start of counting
const STATE_SIZE = (DOUBLES + 2) * 4;

const MIN_PERIOD_TICKS = MIN_TIMER_PERIOD_NS / HPET_TICK_NS;
const TWO32 = 2 ** 32;

const writableBits = new Uint32Array(REGISTER_WORDS);
const known = new Uint8Array(REGISTER_WORDS);
for (const r of hpetRegisters) {
  known[r.offset >> 2] = 1;
  writableBits[r.offset >> 2] = r.access === 'ro' ? 0 : (r.writable ?? 0xffffffff);
}

export interface LegacyDevices {
  /** Take interrupts 0 and 8 from the PIT and the RTC, or give them back. Called without a lock. */
  suppressLegacyIrqs(on: boolean): void;
}

export class Hpet implements HvmMmioOps {
  readonly name = 'hpet';
  private readonly u32: Uint32Array;
  private readonly f64: Float64Array;
  private readonly at: number;
  private readonly lock: Lock;
  private readonly context: PlatformContext;
  private readonly legacy: LegacyDevices;
  private readonly timers: Timer[];
  /** Result of the 64-bit helpers, unsigned halves. */
  private lo = 0;
  private hi = 0;

  constructor(context: PlatformContext, legacy: LegacyDevices) {
    const { memory, domid } = context;
    const base = memory.xenheap(`hpet.d${domid}`, STATE_SIZE);
    this.context = context;
    this.legacy = legacy;
    this.u32 = memory.u32;
    this.f64 = memory.f64;
    this.at = base >>> 2;
    this.lock = new Lock(memory, base, LockOrder.virtualTimer, `hpet.d${domid}`);
    this.timers = Array.from({ length: HPET_TIMERS }, (_, n) =>
      context.timers.create(`hpet.d${domid} timer ${n}`, () => this.expired(n)),
    );
    if (this.u32[this.at + READY] === 0) this.reset();
  }

  reset(): void {
    for (const timer of this.timers) timer.stop();
    this.u32.fill(0, this.at + REGISTERS, this.at + STATE_SIZE / 4);
    for (const r of hpetRegisters) if (r.reset !== undefined) this.put(r.offset, r.reset);
    this.u32[this.at + READY] = 1;
  }

  check(address: Gpa): boolean {
    return address >= HPET_BASE && address < HPET_BASE + HPET_SIZE;
  }

  /** Registers are read in 4 or 8 aligned bytes (specification 2.4.7); smaller reads give the bytes of the register. */
  read(access: IoAccess): Emul {
    const offset = access.address - HPET_BASE;
    access.lo = 0;
    access.hi = 0;
    if (!valid(offset, access.size)) return Emul.okay;
    this.lock.acquire();
    const word = offset & ~3;
    const value = this.readWord(word);
    if (access.size === 8) {
      access.lo = value;
      access.hi = this.readWord(word + 4);
    } else {
      access.lo = lowBytes(value >>> ((offset & 3) * 8), access.size);
    }
    this.lock.release();
    return Emul.okay;
  }

  write(access: IoAccess): Emul {
    const offset = access.address - HPET_BASE;
    // Narrow writes are not allowed by the specification; they are lost.
    if (access.size < 4 || !valid(offset, access.size)) return Emul.okay;
    const legacy = this.get(CFG) & CFG_LEGACY;
    this.lock.acquire();
    this.writeWords(offset, access.lo, access.size === 8 ? access.hi : undefined);
    this.lock.release();
    // The PIT's and the RTC's locks are of the same rank: not inside.
    if ((this.get(CFG) & CFG_LEGACY) !== legacy) this.legacy.suppressLegacyIrqs(legacy === 0);
    return Emul.okay;
  }

  private readWord(offset: number): number {
    if (offset >= 0x160 || !known[offset >> 2]) return 0;
    if (offset === COUNTER || offset === COUNTER + 4) {
      this.counter();
      return offset === COUNTER ? this.lo : this.hi;
    }
    const n = (offset - TIMER0) >> 5;
    if (n >= 0 && n < HPET_TIMERS && (offset & 0x18) === CMP) {
      this.comparator(n);
      return offset & 4 ? this.hi : this.lo;
    }
    return this.get(offset);
  }

  /** Write one word, or two that make a 64-bit register; `high` undefined leaves the other half. */
  private writeWords(offset: number, low: number, high: number | undefined): void {
    const word = offset & ~3;
    if (word >= 0x160) return;
    const n = (word - TIMER0) >> 5;
    if (word === CFG) this.writeConfig(low);
    else if (word === STATUS) this.writeStatus(low);
    else if ((word & ~4) === COUNTER) this.writeCounter(word, low, high);
    else if (n >= 0 && n < HPET_TIMERS && (word & 0x1f) === 0) this.writeTimerConfig(n, low);
    else if (n >= 0 && n < HPET_TIMERS && (word & 0x18) === CMP) this.writeComparator(n, word, low, high);
  }

  private writeConfig(value: number): void {
    const old = this.get(CFG);
    const cfg = value & writableBits[CFG >> 2]!;
    if (old & CFG_ENABLE && !(cfg & CFG_ENABLE)) {
      this.counter();
      this.put(COUNTER, this.lo);
      this.put(COUNTER + 4, this.hi);
    }
    this.put(CFG, cfg);
    if (!(old & CFG_ENABLE) && cfg & CFG_ENABLE) this.f64[(this.at + DOUBLES) / 2] = this.context.clock.nowNs();
    for (let n = 0; n < HPET_TIMERS; n++) this.startTimer(n);
  }

  private writeStatus(value: number): void {
    for (let n = 0; n < HPET_TIMERS; n++) if (value & (1 << n)) this.clearStatus(n);
  }

  /** The counter can be set only while it stands still. */
  private writeCounter(word: number, low: number, high: number | undefined): void {
    if (this.get(CFG) & CFG_ENABLE) return;
    this.put(word, low);
    if (high !== undefined) this.put(word + 4, high);
  }

  private writeTimerConfig(n: number, value: number): void {
    const at = TIMER0 + n * TIMER_STRIDE;
    const old = this.get(at);
    const config = (old & ~writableBits[at >> 2]!) | (value & writableBits[at >> 2]!);
    // A level line that is up goes down with the old setting.
    if (old & TN_LEVEL && !(config & TN_LEVEL && config & TN_ENABLE && route(config) === route(old))) this.clearStatus(n);
    this.put(at, config);
    if (config & TN_32BIT) {
      this.put(at + CMP + 4, 0);
      this.u32[this.at + PERIODS + n * 2 + 1] = 0;
    }
    this.startTimer(n);
  }

  private writeComparator(n: number, word: number, low: number, high: number | undefined): void {
    const at = TIMER0 + n * TIMER_STRIDE;
    const config = this.get(at);
    const isHigh = (word & 4) !== 0;
    if (isHigh && config & TN_32BIT) return;
    const upper = config & TN_32BIT ? 0 : high;
    const period = this.at + PERIODS + n * 2;
    if (!(config & TN_PERIODIC) || config & TN_SETVAL) {
      this.put(word, low);
      if (!isHigh && upper !== undefined) this.put(word + 4, upper);
    }
    if (config & TN_PERIODIC) {
      // The value set with SETVAL is the first expiry; written without, it is the period. Either way it is taken for the period.
      this.u32[period + (isHigh ? 1 : 0)] = low;
      if (!isHigh && upper !== undefined) this.u32[period + 1] = upper;
      // Not too short for the host, and not so long that the next expiry could be taken for a past one.
      if (this.u32[period + 1] === 0 && this.u32[period]! < MIN_PERIOD_TICKS) this.u32[period] = MIN_PERIOD_TICKS;
      this.u32[period + (config & TN_32BIT ? 0 : 1)]! &= 0x7fff_ffff;
    }
    this.put(at, config & ~TN_SETVAL);
    this.startTimer(n);
  }

  // --- counting

  /** Main counter now, into lo and hi. */
  private counter(): void {
    this.lo = this.get(COUNTER);
    this.hi = this.get(COUNTER + 4);
    if (!(this.get(CFG) & CFG_ENABLE)) return;
    const ticks = Math.floor((this.context.clock.nowNs() - this.f64[(this.at + DOUBLES) / 2]!) / HPET_TICK_NS);
    const low = this.lo + (ticks % TWO32);
    this.hi = (this.hi + Math.floor(ticks / TWO32) + (low >= TWO32 ? 1 : 0)) >>> 0;
    this.lo = low >>> 0;
  }

  /** Comparator of timer n now, into lo and hi; a periodic one has moved on past the counter. */
  private comparator(n: number): void {
    const at = TIMER0 + n * TIMER_STRIDE;
    const config = this.get(at);
    const period = this.period(n);
    if (config & TN_PERIODIC && config & TN_ENABLE && this.get(CFG) & CFG_ENABLE && period > 0) {
      const behind = -this.untilMatch(n);
      if (behind >= 0) {
        const step = (Math.floor(behind / period) + 1) * period;
        const low = this.get(at + CMP) + (step % TWO32);
        this.put(at + CMP, low >>> 0);
        if (!(config & TN_32BIT))
          this.put(at + CMP + 4, (this.get(at + CMP + 4) + Math.floor(step / TWO32) + (low >= TWO32 ? 1 : 0)) >>> 0);
      }
    }
    this.lo = this.get(at + CMP);
    this.hi = config & TN_32BIT ? 0 : this.get(at + CMP + 4);
  }

  private period(n: number): number {
    const at = this.at + PERIODS + n * 2;
    return this.u32[at + 1]! * TWO32 + this.u32[at]!;
  }

  /** Ticks from the counter to the comparator as a signed number: the nearer way round in 32 or 64 bits. */
  private untilMatch(n: number): number {
    const at = TIMER0 + n * TIMER_STRIDE;
    this.counter();
    const low = this.get(at + CMP) - this.lo;
    if (this.get(at) & TN_32BIT) return low | 0;
    const high = (this.get(at + CMP + 4) - this.hi + (low < 0 ? -1 : 0)) | 0;
    return high * TWO32 + (low >>> 0);
  }

  /** Arm timer n for its next match, if it is on. A match that is past happens at once, but not twice at one time (`fired`). */
  private startTimer(n: number, fired = false): void {
    const config = this.get(TIMER0 + n * TIMER_STRIDE);
    this.timers[n]!.stop();
    if (!(this.get(CFG) & CFG_ENABLE) || !(config & TN_ENABLE)) return;
    if (config & TN_PERIODIC && this.period(n) > 0) this.comparator(n);
    const match = this.untilMatch(n);
    const until = fired && match <= 0 ? MIN_PERIOD_TICKS : match;
    // A 32-bit comparator far behind the counter is one that lies ahead by almost a turn.
    const ticks = until >= 0 ? until : config & TN_32BIT && until < -0x4000_0000 ? until + TWO32 : 0;
    if (ticks < 2 ** 48) this.timers[n]!.set(this.context.clock.nowNs() + ticks * HPET_TICK_NS);
  }

  private expired(n: number): void {
    this.lock.acquire();
    const config = this.get(TIMER0 + n * TIMER_STRIDE);
    if (this.get(CFG) & CFG_ENABLE && config & TN_ENABLE) {
      this.fire(n, config);
      if (config & TN_PERIODIC && this.period(n) > 0) this.startTimer(n, true);
    }
    this.lock.release();
  }

  private fire(n: number, config: number): void {
    const { irq } = this.context;
    if (this.get(CFG) & CFG_LEGACY && n < 2) {
      const line = n === 0 ? 0 : 8;
      irq.isaIrqDeassert(line);
      irq.isaIrqAssert(line);
      return;
    }
    // A route the timer has no wire for goes nowhere (XSA-261: it must not index past the pins).
    if (!routeValid(config)) return;
    if (!(config & TN_LEVEL)) return irq.ioapicAssert(route(config), false);
    if (this.get(STATUS) & (1 << n)) return;
    this.put(STATUS, this.get(STATUS) | (1 << n));
    irq.ioapicAssert(route(config), true);
  }

  private clearStatus(n: number): void {
    if (!(this.get(STATUS) & (1 << n))) return;
    this.put(STATUS, this.get(STATUS) & ~(1 << n));
    this.context.irq.ioapicDeassert(route(this.get(TIMER0 + n * TIMER_STRIDE)));
  }

  private get(offset: number): number {
    return this.u32[this.at + REGISTERS + (offset >> 2)]!;
  }

  private put(offset: number, value: number): void {
    this.u32[this.at + REGISTERS + (offset >> 2)] = value;
  }
}

const route = (config: number): number => (config >> 9) & 0x1f;
const routeValid = (config: number): boolean => ((HPET_ROUTES >>> route(config)) & 1) !== 0;
/** Within one register of 8 bytes, aligned to its size. */
const valid = (offset: number, size: number): boolean => offset % size === 0 && offset + size <= HPET_SIZE;
