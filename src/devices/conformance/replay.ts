/** Replays transcripts against our chips on a test bus, and tells where they part. */
import { UserError } from '../../base/errors.ts';
import { explainAccess, type RegisterDef } from '../registers.ts';
import { pciHeader } from '../pci/config-space.ts';
import type { NicModel } from '../nic/model.ts';
import { nicModels } from '../nic/models.ts';
import { TestBus } from './test-bus.ts';
import { parseLine, toHex, type Effect, type Input, type SequenceHeader } from './transcript.ts';

/** The first step at which a sequence and our chip differ. */
interface Difference {
  /** Line of the input in its file, from 1. */
  readonly line: number;
  /** Inputs before this one in the sequence. */
  readonly step: number;
  readonly input: string;
  /** Register at the accessed place; empty for other inputs. */
  readonly register: string;
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

export interface SequenceResult {
  readonly name: string;
  readonly device: string;
  readonly category: string;
  readonly inputs: number;
  readonly difference: Difference | undefined;
  /** Inputs on which INTx went up and down otherwise than in the transcript, with the right level after it. */
  readonly otherEdges: number;
}

const show = (bytes: Uint8Array): string => {
  const text = toHex(bytes.subarray(0, 48));
  return bytes.length > 48 ? `${text}… (${bytes.length} bytes)` : text || 'nothing';
};

const registersAt = (table: readonly RegisterDef[], addr: number, size: number): string =>
  explainAccess(table, addr, size, 0)
    .map((e) => e.name)
    .join('+') || 'no register';

const describeInput = (input: Input): string => {
  switch (input.kind) {
    case 'read':
    case 'write':
      return `${input.kind}${input.size * 8} BAR${input.bar}+0x${input.addr.toString(16)}${input.kind === 'write' ? ` = 0x${input.value.toString(16)}` : ''}`;
    case 'configRead':
    case 'configWrite':
      return `${input.kind}${input.size * 8} 0x${input.addr.toString(16)}${input.kind === 'configWrite' ? ` = 0x${input.value.toString(16)}` : ''}`;
    case 'mem':
      return `mem RAM+0x${input.addr.toString(16)}: ${show(input.bytes)}`;
    case 'fill':
      return `fill RAM+0x${input.addr.toString(16)}: ${input.len} × 0x${input.byte.toString(16)}`;
    case 'rx':
      return `rx ${show(input.bytes)}`;
    case 'clock':
      return `clock to ${input.now} ns`;
    case 'link':
      return `link ${input.up ? 'up' : 'down'}`;
    case 'sysreset':
      return 'sysreset';
  }
};

/** Tells before which inputs of a sequence (from 0) the chip is saved, and another goes on from its state. */
export type SaveBefore = (step: number) => boolean;

/** One sequence under way. */
class Sequence {
  readonly header: SequenceHeader;
  private readonly model: NicModel;
  private readonly bus: TestBus;
  private readonly saveBefore: SaveBefore;
  /** RAM as the transcript says it is. */
  private readonly expected: Uint8Array;
  private expectedIrq = false;
  private inputs = 0;
  private otherEdges = 0;
  private difference: Difference | undefined;
  /** The input whose effects are being gathered. */
  private current: { readonly input: Input; readonly line: number; readonly got: number } | undefined;
  private readonly effects: Effect[] = [];

  constructor(header: SequenceHeader, model: NicModel, saveBefore: SaveBefore) {
    this.header = header;
    this.model = model;
    this.saveBefore = saveBefore;
    this.bus = new TestBus((slot, wire) => model.make(slot, wire, { mac: header.mac }), header.ramBase, header.ramSize);
    this.expected = new Uint8Array(header.ramSize);
    const { chip } = this.bus;
    for (const bar of header.bars) chip.writeConfig(0x10 + 4 * bar.index, 4, bar.base);
    chip.writeConfig(4, 2, 7);
  }

  input(input: Input, line: number): void {
    this.settle();
    if (this.difference) return;
    if (this.saveBefore(this.inputs)) this.bus.replaceChip();
    this.inputs++;
    this.bus.irqEdges.length = 0;
    this.current = { input, line, got: this.apply(input, line) };
  }

  effect(effect: Effect, where: string): void {
    if (!this.current && !this.difference) throw new UserError(`${where}: an effect without an input before it`);
    this.effects.push(effect);
  }

  finish(): SequenceResult {
    this.settle();
    const { name, device, category } = this.header;
    return { name, device, category, inputs: this.inputs, difference: this.difference, otherEdges: this.otherEdges };
  }

  /** Does an input; returns what a read gave, else -1. */
  private apply(input: Input, line: number): number {
    const { bus } = this;
    switch (input.kind) {
      case 'read':
      case 'write': {
        const bar = this.header.bars.find((b) => b.index === input.bar);
        if (!bar) throw new UserError(`line ${line}: sequence ${this.header.name} has no BAR ${input.bar}`);
        if (input.kind === 'read') return bus.read(bar.kind, bar.base + input.addr, input.size);
        bus.write(bar.kind, bar.base + input.addr, input.size, input.value);
        return -1;
      }
      case 'configRead':
        return bus.chip.readConfig(input.addr, input.size);
      case 'configWrite':
        bus.chip.writeConfig(input.addr, input.size, input.value);
        return -1;
      case 'mem':
      case 'fill': {
        const length = input.kind === 'mem' ? input.bytes.length : input.len;
        if (input.addr + length > bus.ram.bytes.length)
          throw new UserError(
            `line ${line}: ${describeInput(input)} is outside the sequence's RAM of ${bus.ram.bytes.length} bytes`,
          );
        for (const ram of [bus.ram.bytes, this.expected]) {
          if (input.kind === 'mem') ram.set(input.bytes, input.addr);
          else ram.fill(input.byte, input.addr, input.addr + input.len);
        }
        return -1;
      }
      case 'rx':
        bus.wire.arrive(input.bytes);
        return -1;
      case 'clock':
        bus.clock.advance(input.now);
        return -1;
      case 'link':
        bus.chip.setLink(input.up);
        return -1;
      case 'sysreset':
        bus.chip.reset();
        return -1;
    }
  }

  /** Compares what the current input did with what it should have done. */
  private settle(): void {
    const { current, bus, effects } = this;
    if (!current || this.difference) return;
    const { input } = current;
    if ((input.kind === 'read' || input.kind === 'configRead') && current.got !== input.value) {
      this.differ('value read', `0x${input.value.toString(16)}`, `0x${current.got.toString(16)}`);
    }
    this.compareFrames(effects.flatMap((e) => (e.kind === 'tx' ? [e.bytes] : [])));
    this.compareMemory();
    const edges = effects.flatMap((e) => (e.kind === 'irq' ? [e.level] : []));
    if (edges.join() !== bus.irqEdges.join()) this.otherEdges++;
    this.expectedIrq = edges.at(-1) ?? this.expectedIrq;
    if (bus.irqLevel !== this.expectedIrq) this.differ('INTx level', `${Number(this.expectedIrq)}`, `${Number(bus.irqLevel)}`);
    effects.length = 0;
    bus.wire.sent.length = 0;
    this.current = undefined;
  }

  private compareFrames(expected: readonly Uint8Array[]): void {
    const { sent } = this.bus.wire;
    for (let i = 0; i < Math.max(expected.length, sent.length); i++) {
      const want = expected[i];
      const have = sent[i];
      if (want && have && toHex(want) === toHex(have)) continue;
      this.differ(`frame ${i + 1} of ${expected.length} sent`, want ? show(want) : 'none', have ? show(have) : 'none');
      return;
    }
  }

  /** Memory that neither side touched is equal still, so only what either touched is compared. */
  private compareMemory(): void {
    const { ram } = this.bus;
    const ranges: [number, number][] = [];
    for (const effect of this.effects) {
      if (effect.kind !== 'dma') continue;
      this.expected.set(
        effect.bytes.subarray(0, Math.max(0, this.expected.length - effect.addr)),
        Math.min(effect.addr, this.expected.length),
      );
      ranges.push([effect.addr, effect.addr + effect.bytes.length]);
    }
    for (let i = 0; i < ram.written.length; i += 2) ranges.push([ram.written[i]!, ram.written[i + 1]!]);
    ram.written.length = 0;
    for (const [start, end] of ranges) {
      for (let at = start; at < end; at++) {
        if (ram.bytes[at] === this.expected[at]) continue;
        this.differ(
          `memory at 0x${(this.header.ramBase + at).toString(16)}`,
          show(this.expected.subarray(at, end)),
          show(ram.bytes.subarray(at, end)),
        );
        return;
      }
    }
  }

  private differ(what: string, expected: string, got: string): void {
    const { input, line } = this.current!;
    let register = '';
    if (input.kind === 'read' || input.kind === 'write') register = registersAt(this.model.tables[''], input.addr, input.size);
    else if (input.kind === 'configRead' || input.kind === 'configWrite')
      register = registersAt(pciHeader, input.addr, input.size);
    this.difference ??= { line, step: this.inputs - 1, input: describeInput(input), register, what, expected, got };
  }
}

/** Takes the lines of one transcript file, in order. */
export class Replay {
  readonly results: SequenceResult[] = [];
  private readonly file: string;
  private readonly saveBefore: SaveBefore;
  private lines = 0;
  private sequence: Sequence | undefined;

  /** @param file its name, for errors */
  constructor(file: string, saveBefore: SaveBefore = () => false) {
    this.file = file;
    this.saveBefore = saveBefore;
  }

  line(text: string): void {
    this.lines++;
    if (text === '') return;
    const where = `${this.file}:${this.lines}`;
    const line = parseLine(text, where);
    if ('header' in line) {
      this.end();
      const { device } = line.header;
      const model = nicModels.find(({ name }) => name === device);
      if (!model)
        throw new UserError(`${where}: no model of '${device}'; there are: ${nicModels.map(({ name }) => name).join(', ')}`);
      this.sequence = new Sequence(line.header, model, this.saveBefore);
    } else {
      if (!this.sequence) throw new UserError(`${where}: expected a line that starts a sequence ("v":1)`);
      if ('input' in line) this.sequence.input(line.input, this.lines);
      else this.sequence.effect(line.effect, where);
    }
  }

  /** No more lines. */
  end(): void {
    if (this.sequence) this.results.push(this.sequence.finish());
    this.sequence = undefined;
  }
}
