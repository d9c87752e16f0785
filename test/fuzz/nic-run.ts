/** What fuzz targets of NICs share: a chip on a test bus, its work counted and bounded, and a trail to compare runs by. */
import { TestBus } from '../../src/devices/conformance/test-bus.ts';
import type { Wire } from '../../src/devices/interfaces.ts';
import type { NicChip } from '../../src/devices/nic/model.ts';
import type { PciSlot } from '../../src/devices/pci/pci-device.ts';
import type { Target } from './engine.ts';
import { check, Program } from './program.ts';

export const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
export const IO = 0xc000;
export const MMIO = 0xe000_0000;
export const RAM = 0x10_0000;
export const sizes = [1, 2, 4] as const;
/** Operations of one input; each costs a byte at least. */
const MOST_STEPS = 200;
/** Frames and DMA accesses after which an input has had its time: long rings and large sends of single bytes are slow and all alike. */
const BUDGET = 20_000;

/** The input has had its time. */
class Enough extends Error {}

export interface NicRunOptions {
  readonly make: (slot: PciSlot, wire: Wire) => NicChip;
  readonly ramSize: number;
  /** DMA accesses of one step; more are let through as far as mostDma() says. */
  readonly stepDma: number;
  /** Shortest and longest frame the chip can send. */
  readonly shortestFrame: 0 | 1;
  readonly longestFrame: number;
  /** Highest address that the chip can reach; Infinity for 64 bits, of which a number holds the upper ones. */
  readonly highestAddress: number;
  /** Other than 20,000 frames and DMA accesses. */
  readonly budget?: number;
  /** Save, and go on with a new chip, before every step. */
  readonly replace: boolean;
}

/** A target's two ways to run an input: alone, and beside a chip that is saved and restored before every step. */
export const runsOf = (make: (replace: boolean) => NicRun): Pick<Target, 'run' | 'runThoroughly'> => ({
  run: (input) => void make(false).run(input),
  runThoroughly: (input) => {
    check(make(false).run(input) === make(true).run(input), 'a saved and restored chip goes on differently');
  },
});

export abstract class NicRun {
  readonly bus: TestBus;
  private readonly options: NicRunOptions;
  private hash = 0x811c9dc5;
  private dma = 0;
  private spent = 0;

  constructor(options: NicRunOptions) {
    this.options = options;
    this.bus = new TestBus(options.make, RAM, options.ramSize);
    const { ram, wire } = this.bus;
    this.place();
    const read = ram.read.bind(ram);
    const write = ram.write.bind(ram);
    ram.read = (gpa, buffer, offset, length) => {
      this.count(gpa, buffer, offset, length);
      return read(gpa, buffer, offset, length);
    };
    ram.write = (gpa, buffer, offset, length) => {
      this.count(gpa, buffer, offset, length);
      ram.written.length = 0;
      return write(gpa, buffer, offset, length);
    };
    wire.send = (buffer, length) => {
      check(
        Number.isInteger(length) && length >= options.shortestFrame && length <= options.longestFrame && length <= buffer.length,
        `frame of ${length} bytes from a buffer of ${buffer.length}`,
      );
      this.spend();
      this.add(length);
      for (let i = 0; i < length; i += 61) this.add(buffer[i]!);
    };
  }

  /** BARs and Command as a driver needs them. */
  protected place(): void {
    const { chip } = this.bus;
    for (const bar of chip.config.bars) chip.writeConfig(0x10 + 4 * bar.index, 4, bar.kind === 'io' ? IO : MMIO);
    chip.writeConfig(4, 2, 7);
  }

  /** One operation of the program. */
  protected abstract step(program: Program): void;
  /** What must hold after each. */
  protected abstract invariants(): void;
  /** What must hold at the end. */
  protected finish(): void {}
  /** Called before each operation. */
  protected begin(): void {}
  /** Most DMA accesses of the step so far. */
  protected mostDma(): number {
    return this.options.stepDma;
  }

  protected add(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193) >>> 0;
  }

  /** What came out of the whole input. */
  run(input: Uint8Array): number {
    const program = new Program(input);
    try {
      for (let step = 0; step < MOST_STEPS && !program.done; step++) {
        if (this.options.replace) this.bus.replaceChip();
        this.dma = 0;
        this.begin();
        this.step(program);
        this.invariants();
      }
    } catch (error) {
      if (!(error instanceof Enough)) throw error;
    }
    this.finish();
    for (const value of Object.values(this.bus.chip.statistics()))
      check(Number.isSafeInteger(value) && value >= 0, `a counter is ${value}`);
    this.add(Number(this.bus.irqLevel));
    const { bytes } = this.bus.ram;
    for (let at = 0; at < bytes.length; at += 13) this.add(bytes[at]!);
    this.addState(this.bus.chip.save());
    return this.hash;
  }

  private addState(value: unknown): void {
    if (typeof value === 'number') this.add(value);
    else if (typeof value === 'boolean') this.add(Number(value));
    else if (value instanceof Uint8Array || value instanceof Uint32Array)
      for (let i = 0; i < value.length; i++) this.add(value[i]!);
    else if (value !== null && typeof value === 'object') for (const inner of Object.values(value)) this.addState(inner);
  }

  /** A frame from the wire, to this card, all, a group or nobody, perhaps tagged. */
  protected arrive(program: Program): void {
    const { frame } = this.frame(program);
    if (this.bus.wire.waitingFrames < 64) this.bus.wire.arrive(frame);
  }

  protected frame(program: Program): { readonly frame: Uint8Array; readonly kind: number } {
    const kind = program.u8();
    const frame = new Uint8Array(program.u16() % (kind & 0x80 ? 0xffff : 1600));
    const to = [MAC, [255, 255, 255, 255, 255, 255], [1, 0, 0x5e, program.u8(), 0, 1], [2, 0, 0, 0, 0, 9]][kind & 3]!;
    frame.set(Array.from(to).slice(0, frame.length));
    if (kind & 4 && frame.length > 16) frame.set([0x81, 0, kind, 5], 12);
    return { frame, kind };
  }

  private count(gpa: number, buffer: Uint8Array, offset: number, length: number): void {
    check((this.bus.chip.config.command & 4) !== 0, 'DMA with bus mastering off');
    if (++this.dma > this.options.stepDma) {
      const most = this.mostDma();
      check(this.dma <= most, `more than ${most} DMA accesses in one step`);
    }
    this.spend();
    check(Number.isInteger(gpa) && gpa >= 0 && gpa <= this.options.highestAddress, `DMA at ${gpa}`);
    check(
      length >= 0 && offset >= 0 && offset + length <= buffer.length,
      `DMA of ${length} bytes at ${offset} of a buffer of ${buffer.length}`,
    );
  }

  private spend(): void {
    if (++this.spent > (this.options.budget ?? BUDGET)) throw new Enough();
  }
}
