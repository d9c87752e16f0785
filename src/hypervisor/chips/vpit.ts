/**
 * The 8254 timer and port 0x61 (Xen: arch/x86/emul-i8254.c). Counts are computed from the clock when they are read; only
 * channel 0, which interrupts, has a timer. State in machine memory under its `virtualTimer` lock.
 */
import { PIT_FREQ } from '../../abi/registers/pit.ts';
import { Emul, type IoAccess, type IoHandlers } from '../io/intercept.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import { MIN_TIMER_PERIOD_NS, type PlatformContext } from './platform-context.ts';
import type { Timer } from '../time/timer.ts';

/** A channel's state, in words. */
const COUNT = 0; // 1 … 65536
const LATCHED = 1;
const LATCH_STATE = 2; // bytes of the latched count still to read, as ACCESS
const STATUS = 3;
const STATUS_LATCHED = 4;
/** Byte expected next of two: 0 low, 1 high. */
const READ_HIGH = 5;
const WRITE_HIGH = 6;
const WRITE_LOW_BYTE = 7;
const ACCESS = 8; // 1 low, 2 high, 3 both
const MODE = 9;
const BCD = 10;
const GATE = 11;
/** No count loaded since the control word. */
const NULL_COUNT = 12;
const WORDS = 14;
/** Then two doubles a channel: when its count was loaded, and ticks counted before the gate closed. */
const LOADED_AT = 0;

const HEADER = 16; // lock, speaker, ready, channel 0's interrupt suppressed
const SPEAKER = 1;
const READY = 2;
const SUPPRESSED = 3;
const WORDS_AT = HEADER;
const DOUBLES_AT = HEADER + 3 * WORDS * 4;
const STATE_SIZE = DOUBLES_AT + 3 * 8;

const NS_PER_TICK = 1e9 / PIT_FREQ;
/** Port 0x61's refresh bit changes with every memory refresh, 15 µs. */
const REFRESH_NS = 15085;

export class Vpit {
  private readonly u32: Uint32Array;
  private readonly f64: Float64Array;
  private readonly at: number;
  private readonly doubles: number;
  private readonly lock: Lock;
  private readonly context: PlatformContext;
  private readonly timer: Timer;

  constructor(context: PlatformContext) {
    const { memory, domid } = context;
    const base = memory.xenheap(`vpit.d${domid}`, STATE_SIZE);
    this.context = context;
    this.u32 = memory.u32;
    this.f64 = memory.f64;
    this.at = base >>> 2;
    this.doubles = (base + DOUBLES_AT) / 8;
    this.lock = new Lock(memory, base, LockOrder.virtualTimer, `vpit.d${domid}`);
    this.timer = context.timers.create(`vpit.d${domid}`, (now) => this.expired(now));
    if (this.u32[this.at + READY] === 0) this.reset();
  }

  register(io: IoHandlers): void {
    io.registerPortioHandler('vpit', 0x40, 4, (access) => this.access(access));
    io.registerPortioHandler('speaker', 0x61, 1, (access) => this.speaker(access));
  }

  reset(): void {
    this.timer.stop();
    for (let channel = 0; channel < 3; channel++) {
      for (let word = 0; word < WORDS; word++) this.set(channel, word, 0);
      this.set(channel, COUNT, 0x10000);
      this.set(channel, ACCESS, 3);
      this.set(channel, MODE, 3);
      this.set(channel, GATE, channel === 2 ? 0 : 1);
      this.set(channel, NULL_COUNT, 1);
    }
    this.u32[this.at + SPEAKER] = 0;
    this.u32[this.at + SUPPRESSED] = 0;
    this.u32[this.at + READY] = 1;
  }

  /** The HPET's legacy replacement takes interrupt 0 away from channel 0, or gives it back. */
  suppressIrq(on: boolean): void {
    this.lock.acquire();
    this.u32[this.at + SUPPRESSED] = on ? 1 : 0;
    if (on) this.timer.stop();
    else this.startTimer();
    this.lock.release();
  }

  private access(access: IoAccess): Emul {
    // The chip is a byte wide, and has one address beside another: wider accesses reach the first alone.
    const channel = access.address & 3;
    this.lock.acquire();
    if (!access.isWrite) access.lo = channel === 3 ? 0xff : this.readCount(channel);
    else if (channel === 3) this.writeControl(access.lo & 0xff);
    else this.writeCount(channel, access.lo & 0xff);
    this.lock.release();
    return Emul.okay;
  }

  private speaker(access: IoAccess): Emul {
    this.lock.acquire();
    if (access.isWrite) {
      this.u32[this.at + SPEAKER] = (access.lo >> 1) & 1;
      this.setGate(2, access.lo & 1);
    } else {
      const refresh = Math.floor(this.context.clock.nowNs() / REFRESH_NS) & 1;
      access.lo = this.get(2, GATE) | (this.u32[this.at + SPEAKER]! << 1) | (refresh << 4) | (this.output(2) << 5);
    }
    this.lock.release();
    return Emul.okay;
  }

  private writeControl(value: number): void {
    const channel = value >> 6;
    if (channel === 3) {
      // Read-back: latch counts and status of the channels chosen; the bits are active low.
      for (let c = 0; c < 3; c++) {
        if (!(value & (2 << c))) continue;
        if (!(value & 0x20)) this.latchCount(c);
        if (!(value & 0x10)) this.latchStatus(c);
      }
      return;
    }
    const access = (value >> 4) & 3;
    if (access === 0) return this.latchCount(channel);
    const mode = (value >> 1) & 7;
    this.set(channel, ACCESS, access);
    this.set(channel, MODE, mode > 5 ? mode - 4 : mode);
    this.set(channel, BCD, value & 1);
    for (const word of [READ_HIGH, WRITE_HIGH, LATCH_STATE, STATUS_LATCHED]) this.set(channel, word, 0);
    this.set(channel, NULL_COUNT, 1);
    if (channel === 0) this.timer.stop();
  }

  private writeCount(channel: number, value: number): void {
    const access = this.get(channel, ACCESS);
    if (access === 1) return this.load(channel, value);
    if (access === 2) return this.load(channel, value << 8);
    if (this.get(channel, WRITE_HIGH)) {
      this.set(channel, WRITE_HIGH, 0);
      this.load(channel, (value << 8) | this.get(channel, WRITE_LOW_BYTE));
    } else {
      this.set(channel, WRITE_LOW_BYTE, value);
      this.set(channel, WRITE_HIGH, 1);
    }
  }

  private load(channel: number, value: number): void {
    const bcd = this.get(channel, BCD);
    const count = bcd ? fromBcd(value) : value;
    this.set(channel, COUNT, count === 0 ? (bcd ? 10000 : 0x10000) : count);
    this.set(channel, NULL_COUNT, 0);
    this.f64[this.doubles + channel + LOADED_AT] = this.context.clock.nowNs();
    if (channel === 0) {
      this.context.irq.isaIrqDeassert(0);
      this.startTimer();
    }
  }

  private readCount(channel: number): number {
    if (this.get(channel, STATUS_LATCHED)) {
      this.set(channel, STATUS_LATCHED, 0);
      return this.get(channel, STATUS);
    }
    const latch = this.get(channel, LATCH_STATE);
    if (latch) {
      const value = this.get(channel, LATCHED);
      // Both bytes: low first, then high is what is left to read.
      this.set(channel, LATCH_STATE, latch === 3 ? 2 : 0);
      return latch === 2 ? value >> 8 : value & 0xff;
    }
    const value = this.currentCount(channel);
    const access = this.get(channel, ACCESS);
    if (access !== 3) return access === 1 ? value & 0xff : value >> 8;
    const high = this.get(channel, READ_HIGH);
    this.set(channel, READ_HIGH, high ^ 1);
    return high ? value >> 8 : value & 0xff;
  }

  private latchCount(channel: number): void {
    if (this.get(channel, LATCH_STATE)) return; // one at a time: the first stays until read
    this.set(channel, LATCHED, this.currentCount(channel));
    this.set(channel, LATCH_STATE, this.get(channel, ACCESS));
  }

  private latchStatus(channel: number): void {
    if (this.get(channel, STATUS_LATCHED)) return;
    this.set(
      channel,
      STATUS,
      (this.output(channel) << 7) |
        (this.get(channel, NULL_COUNT) << 6) |
        (this.get(channel, ACCESS) << 4) |
        (this.get(channel, MODE) << 1) |
        this.get(channel, BCD),
    );
    this.set(channel, STATUS_LATCHED, 1);
  }

  /** Ticks since the count was loaded. */
  private ticks(channel: number): number {
    return Math.floor((this.context.clock.nowNs() - this.f64[this.doubles + channel + LOADED_AT]!) / NS_PER_TICK);
  }

  /** The counter as 16 bits, in BCD where that was asked for. */
  private currentCount(channel: number): number {
    const count = this.get(channel, COUNT);
    const ticks = this.ticks(channel);
    const bcd = this.get(channel, BCD);
    const range = bcd ? 10000 : 0x10000;
    let value: number;
    switch (this.get(channel, MODE)) {
      case 2:
        value = count - (ticks % count);
        break;
      case 3:
        // Counts by two, twice a period.
        value = count - ((2 * ticks) % count);
        break;
      default:
        value = (((count - ticks) % range) + range) % range;
    }
    value %= range;
    return bcd ? toBcd(value) : value;
  }

  private output(channel: number): number {
    if (this.get(channel, NULL_COUNT)) return this.get(channel, MODE) === 0 ? 0 : 1;
    const count = this.get(channel, COUNT);
    const ticks = this.ticks(channel);
    switch (this.get(channel, MODE)) {
      case 0:
        return ticks >= count ? 1 : 0;
      case 1:
        return ticks < count ? 0 : 1;
      case 2:
        return ticks % count === count - 1 ? 0 : 1;
      case 3:
        return ticks % count < (count + 1) >> 1 ? 1 : 0;
      default:
        return ticks === count ? 0 : 1;
    }
  }

  /** A rising gate starts the count again, but in modes 0 and 4, where it only holds it; Xen's does not hold it either. */
  private setGate(channel: number, gate: number): void {
    const rises = gate && !this.get(channel, GATE);
    this.set(channel, GATE, gate);
    const mode = this.get(channel, MODE);
    if (rises && mode !== 0 && mode !== 4) this.f64[this.doubles + channel + LOADED_AT] = this.context.clock.nowNs();
  }

  /** Arm channel 0's next interrupt: modes 2 and 3 again and again, modes 0 and 4 once; 1 and 5 wait for a gate that never comes. */
  private startTimer(): void {
    const mode = this.get(0, MODE);
    this.timer.stop();
    if (this.get(0, NULL_COUNT) || this.u32[this.at + SUPPRESSED] || mode === 1 || mode === 5) return;
    const loaded = this.f64[this.doubles + LOADED_AT]!;
    const repeats = mode === 2 || mode === 3;
    const period = repeats ? Math.max(this.get(0, COUNT) * NS_PER_TICK, MIN_TIMER_PERIOD_NS) : this.get(0, COUNT) * NS_PER_TICK;
    const periods = Math.floor((this.context.clock.nowNs() - loaded) / period) + 1;
    if (repeats) this.timer.set(Math.ceil(loaded + periods * period));
    else if (periods === 1) this.timer.set(Math.ceil(loaded + period));
  }

  private expired(_now: number): void {
    this.lock.acquire();
    const mode = this.get(0, MODE);
    if (mode === 2 || mode === 3) this.startTimer();
    this.context.irq.isaIrqDeassert(0);
    this.context.irq.isaIrqAssert(0);
    this.lock.release();
  }

  private get(channel: number, word: number): number {
    return this.u32[this.at + WORDS_AT / 4 + channel * WORDS + word]!;
  }

  private set(channel: number, word: number, value: number): void {
    this.u32[this.at + WORDS_AT / 4 + channel * WORDS + word] = value;
  }
}

const fromBcd = (value: number): number =>
  (value & 0xf) + ((value >> 4) & 0xf) * 10 + ((value >> 8) & 0xf) * 100 + ((value >> 12) & 0xf) * 1000;
const toBcd = (value: number): number =>
  (value % 10) |
  ((Math.floor(value / 10) % 10) << 4) |
  ((Math.floor(value / 100) % 10) << 8) |
  ((Math.floor(value / 1000) % 10) << 12);
