/**
 * The smallest machine a PCI chip can live in: a window of RAM, a clock that stands still unless told, a wire that
 * keeps what the chip refuses, and records of what the chip did. Conformance replay, specs and the fuzzer use it.
 */
import type { DeviceClock, DeviceTimer, DmaBus, NetDevice, Wire } from '../interfaces.ts';
import type { NicChip } from '../nic/model.ts';
import type { PciSlot } from '../pci/pci-device.ts';
import { widthMask } from '../registers.ts';

/** RAM at one place; elsewhere reads give zero and writes are lost, as where a BAR lies. */
export class RamWindow implements DmaBus {
  readonly base: number;
  readonly bytes: Uint8Array;
  /** Ranges written since the owner last cleared the list: start and end offsets, alternating. */
  readonly written: number[] = [];
  /** DMA accesses, of both directions. */
  accesses = 0;

  constructor(base: number, size: number) {
    this.base = base;
    this.bytes = new Uint8Array(size);
  }

  read(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    this.accesses++;
    const from = gpa - this.base;
    if (from >= 0 && from + length <= this.bytes.length) {
      buffer.set(this.bytes.subarray(from, from + length), offset);
      return true;
    }
    buffer.fill(0, offset, offset + length);
    const start = Math.max(from, 0);
    const end = Math.min(from + length, this.bytes.length);
    if (start < end) buffer.set(this.bytes.subarray(start, end), offset + start - from);
    return false;
  }

  write(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    this.accesses++;
    const from = gpa - this.base;
    const start = Math.max(from, 0);
    const end = Math.min(from + length, this.bytes.length);
    if (start < end) {
      this.bytes.set(buffer.subarray(offset + start - from, offset + end - from), start);
      this.written.push(start, end);
    }
    return start === from && end === from + length;
  }
}

/** A clock that moves only in advance(), and runs timers on their deadlines. */
export class StepClock implements DeviceClock {
  private now: number;
  private readonly timers = new Set<{ at: number; expire: () => void }>();

  constructor(now = 0) {
    this.now = now;
  }

  nowNs(): number {
    return this.now;
  }

  newTimer(expire: () => void): DeviceTimer {
    const timer = { at: Infinity, expire };
    this.timers.add(timer);
    return {
      arm: (at) => void (timer.at = at),
      cancel: () => void (timer.at = Infinity),
    };
  }

  /** The earliest deadline, Infinity when no timer is armed. */
  get nextNs(): number {
    let next = Infinity;
    for (const { at } of this.timers) if (at < next) next = at;
    return next;
  }

  /** Time passes up to `toNs`; timers due on the way run at their own time, earliest first. */
  advance(toNs: number): void {
    for (;;) {
      let first: { at: number; expire: () => void } | undefined;
      for (const timer of this.timers) if (timer.at <= toNs && (!first || timer.at < first.at)) first = timer;
      if (!first) break;
      this.now = Math.max(this.now, first.at);
      first.at = Infinity;
      first.expire();
    }
    this.now = Math.max(this.now, toNs);
  }
}

/** A wire whose far end is the test: keeps what was sent, and holds what the chip refuses. */
export class TestWire implements Wire {
  readonly sent: Uint8Array[] = [];
  private readonly waiting: Uint8Array[] = [];
  /** Frames come in through one buffer, as in QEMU's socket backend: behind a short one lie bytes of the one before. */
  private readonly arrival = new Uint8Array(0x11000);
  private offering = false;
  nic: NetDevice | undefined;
  /** Called with each frame sent, inside the chip's call. */
  onSend: ((frame: Uint8Array) => void) | undefined;

  send(buffer: Uint8Array, length: number): void {
    const frame = buffer.slice(0, length);
    this.sent.push(frame);
    this.onSend?.(frame);
  }

  /** A frame arrives at the chip, behind those that wait. */
  arrive(frame: Uint8Array): void {
    this.waiting.push(frame);
    if (this.waiting.length === 1) this.receiverReady();
  }

  private offer(frame: Uint8Array): boolean {
    this.arrival.set(frame);
    const result = this.nic!.receive(this.arrival, frame.length);
    return result !== 'refused' && result !== 'held';
  }

  receiverReady(): void {
    if (this.offering) return;
    this.offering = true;
    while (this.waiting.length && this.offer(this.waiting[0]!)) this.waiting.shift();
    this.offering = false;
  }

  get waitingFrames(): number {
    return this.waiting.length;
  }
}

export class TestBus {
  readonly ram: RamWindow;
  readonly wire = new TestWire();
  /** INTx level changes, in order. */
  readonly irqEdges: boolean[] = [];
  irqLevel = false;
  clock = new StepClock();
  chip: NicChip;
  private readonly make: (slot: PciSlot, wire: Wire) => NicChip;
  private readonly log: ((line: string) => void) | undefined;

  /** @param make builds the chip in its slot, on the wire */
  constructor(
    make: (slot: PciSlot, wire: Wire) => NicChip,
    ramBase = 0x100_0000,
    ramSize = 0x10_0000,
    log?: (line: string) => void,
  ) {
    this.ram = new RamWindow(ramBase, ramSize);
    this.make = make;
    this.log = log;
    this.chip = this.plug();
  }

  private plug(): NicChip {
    const { log } = this;
    const chip = this.make(
      {
        dma: this.ram,
        clock: this.clock,
        log: log && ((line, fields) => log(line.write(fields))),
        setIrq: (level) => {
          this.irqLevel = level;
          this.irqEdges.push(level);
        },
      },
      this.wire,
    );
    this.wire.nic = chip;
    return chip;
  }

  /** Saves the chip, and goes on with another that took its state. */
  replaceChip(): void {
    const state = structuredClone(this.chip.save());
    this.clock = new StepClock(this.clock.nowNs());
    this.irqLevel = false;
    this.chip = this.plug();
    this.chip.restore(state);
  }

  /** A CPU access to a port or to a memory address; all ones where nothing decodes. */
  read(kind: 'io' | 'mem', address: number, size: number): number {
    for (const bar of this.chip.config.bars) {
      const base = bar.kind === kind ? this.chip.config.barBase(bar) : -1;
      if (base >= 0 && address >= base && address + size <= base + bar.size)
        return this.chip.readBar(bar.index, address - base, size);
    }
    return widthMask(size);
  }

  write(kind: 'io' | 'mem', address: number, size: number, value: number): void {
    for (const bar of this.chip.config.bars) {
      const base = bar.kind === kind ? this.chip.config.barBase(bar) : -1;
      if (base >= 0 && address >= base && address + size <= base + bar.size)
        return this.chip.writeBar(bar.index, address - base, size, value);
    }
  }
}
