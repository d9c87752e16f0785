/**
 * The two 8259A controllers in cascade (Xen: arch/x86/hvm/vpic.c). State in machine memory under the `vpic` lock, which
 * the interrupt hub takes with its own held.
 */
import { picRegisters } from '../../abi/registers/pic.ts';
import { Emul, type IoAccess, type IoHandlers } from '../io/intercept.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import type { MachineMemory } from '../mm/memory.ts';

/** One controller's state, in words. */
const IRR = 0;
const IMR = 1;
const ISR = 2;
/** Line with the highest priority. */
const PRIORITY = 3;
/** What a read of the command port gives: 0 IRR, 1 ISR. */
const READ_ISR = 4;
const POLL = 5;
const AUTO_EOI = 6;
const ROTATE_AUTO_EOI = 7;
const FULLY_NESTED = 8;
const SPECIAL_MASK = 9;
/** Next initialisation word expected at the data port, 0 for none. */
const INIT_STATE = 10;
const IRQ_BASE = 11;
const ELCR = 12;
const INT_OUTPUT = 13;
/** ICW1 announced an ICW4. */
const NEED_ICW4 = 14;
const WORDS = 16;
const STATE_SIZE = 64 + 2 * WORDS * 4;

const elcrMask = picRegisters.filter((r) => r.name.startsWith('PIC_ELCR')).map((r) => r.writable!);
const CASCADE = 2;

export class Vpic {
  private readonly u32: Uint32Array;
  private readonly at: number;
  private readonly lock: Lock;
  private readonly outputRaised: () => void;

  /** `outputRaised` is called, lock held, when the pair starts to want an interrupt. */
  constructor(memory: MachineMemory, domid: number, outputRaised: () => void) {
    const base = memory.xenheap(`vpic.d${domid}`, STATE_SIZE);
    this.u32 = memory.u32;
    this.at = (base + 64) >>> 2;
    this.lock = new Lock(memory, base, LockOrder.vpic, `vpic.d${domid}`);
    this.outputRaised = outputRaised;
  }

  register(io: IoHandlers): void {
    const action = (access: IoAccess): Emul => this.access(access);
    for (const port of [0x20, 0xa0, 0x4d0]) io.registerPortioHandler('vpic', port, 2, action);
  }

  reset(): void {
    this.u32.fill(0, this.at, this.at + 2 * WORDS);
  }

  /** A line 0..15 has become asserted. */
  irqPositiveEdge(irq: number): void {
    if (irq === CASCADE) return;
    this.lock.acquire();
    this.setLine(irq >> 3, irq & 7, true);
    this.lock.release();
  }

  irqNegativeEdge(irq: number): void {
    if (irq === CASCADE) return;
    this.lock.acquire();
    this.setLine(irq >> 3, irq & 7, false);
    this.lock.release();
  }

  /** The pair wants to interrupt. */
  intOutput(): boolean {
    return this.get(0, INT_OUTPUT) !== 0;
  }

  /** INTA: the vector of the line with the highest priority, -1 when nothing is requested any more. */
  ackPendingIrq(): number {
    this.lock.acquire();
    const vector = this.intOutput() ? this.intack(0) : -1;
    this.lock.release();
    return vector;
  }

  private access(access: IoAccess): Emul {
    // Registers are bytes: a wider access is one after the other.
    this.lock.acquire();
    let value = 0;
    for (let i = 0; i < access.size; i++) {
      const port = access.address + i;
      if (access.isWrite) this.writePort(port, (access.lo >>> (i * 8)) & 0xff);
      else value |= this.readPort(port) << (i * 8);
    }
    if (!access.isWrite) access.lo = value >>> 0;
    this.lock.release();
    return Emul.okay;
  }

  private readPort(port: number): number {
    if (port >= 0x4d0) return this.get(port & 1, ELCR);
    const chip = port >> 7;
    if (this.get(chip, POLL)) {
      this.set(chip, POLL, 0);
      const line = this.priorityLine(chip);
      if (line < 0) return 0;
      this.acknowledge(chip, line);
      this.updateOutput(chip);
      return 0x80 | line;
    }
    if (port & 1) return this.get(chip, IMR);
    return this.get(chip, this.get(chip, READ_ISR) ? ISR : IRR);
  }

  private writePort(port: number, value: number): void {
    if (port >= 0x4d0) return this.set(port & 1, ELCR, value & elcrMask[port & 1]!);
    const chip = port >> 7;
    if (port & 1) this.writeData(chip, value);
    else if (value & 0x10) this.writeIcw1(chip, value);
    else if (value & 0x08) this.writeOcw3(chip, value);
    else this.writeOcw2(chip, value);
    this.updateOutput(chip);
  }

  private writeIcw1(chip: number, value: number): void {
    // Edge requests are forgotten; level ones stay, for their lines are still up.
    this.set(chip, IRR, this.get(chip, IRR) & this.get(chip, ELCR));
    for (const word of [IMR, ISR, PRIORITY, READ_ISR, POLL, AUTO_EOI, ROTATE_AUTO_EOI, FULLY_NESTED, SPECIAL_MASK])
      this.set(chip, word, 0);
    this.set(chip, NEED_ICW4, value & 1);
    this.set(chip, INIT_STATE, 2);
  }

  private writeOcw3(chip: number, value: number): void {
    if (value & 0x04) this.set(chip, POLL, 1);
    if (value & 0x02) this.set(chip, READ_ISR, value & 1);
    if (value & 0x40) this.set(chip, SPECIAL_MASK, (value >> 5) & 1);
  }

  private writeOcw2(chip: number, value: number): void {
    const rotate = (value & 0x80) !== 0;
    const specific = (value & 0x40) !== 0;
    if (value & 0x20) {
      const line = specific ? value & 7 : this.highestInService(chip);
      if (line < 0) return;
      this.set(chip, ISR, this.get(chip, ISR) & ~(1 << line));
      if (rotate) this.set(chip, PRIORITY, (line + 1) & 7);
    } else if (specific) {
      if (rotate) this.set(chip, PRIORITY, ((value & 7) + 1) & 7);
    } else this.set(chip, ROTATE_AUTO_EOI, rotate ? 1 : 0);
  }

  private writeData(chip: number, value: number): void {
    switch (this.get(chip, INIT_STATE)) {
      case 2:
        this.set(chip, IRQ_BASE, value & 0xf8);
        // The cascade bit of ICW1 is not obeyed: a PC has both chips.
        this.set(chip, INIT_STATE, 3);
        break;
      case 3:
        this.set(chip, INIT_STATE, this.get(chip, NEED_ICW4) ? 4 : 0);
        break;
      case 4:
        this.set(chip, FULLY_NESTED, (value >> 4) & 1);
        this.set(chip, AUTO_EOI, (value >> 1) & 1);
        this.set(chip, INIT_STATE, 0);
        break;
      default:
        this.set(chip, IMR, value);
    }
  }

  /** A line a controller, for a dump. */
  inspect(): string[] {
    const bits = (value: number): string => value.toString(2).padStart(8, '0');
    return ['master', 'slave'].map(
      (name, chip) =>
        `8259 ${name}: pending (IRR) ${bits(this.get(chip, IRR))}, masked (IMR) ${bits(this.get(chip, IMR))}, in service (ISR) ${bits(this.get(chip, ISR))}`,
    );
  }

  private setLine(chip: number, line: number, level: boolean): void {
    const bit = 1 << line;
    const irr = this.get(chip, IRR);
    this.set(chip, IRR, level ? irr | bit : irr & ~bit);
    this.updateOutput(chip);
  }

  /** Recompute a chip's output; the slave's goes to line 2 of the master, the master's to the CPU. */
  private updateOutput(chip: number): void {
    const output = this.priorityLine(chip) >= 0 && this.get(chip, INIT_STATE) === 0 ? 1 : 0;
    if (this.get(chip, INT_OUTPUT) === output) return;
    this.set(chip, INT_OUTPUT, output);
    if (chip === 1) this.setLine(0, CASCADE, output === 1);
    else if (output) this.outputRaised();
  }

  /** Line that would be acknowledged now: requested, not masked, above what is in service. -1: none. */
  private priorityLine(chip: number): number {
    const imr = this.get(chip, IMR);
    const requests = this.get(chip, IRR) & ~imr;
    if (requests === 0) return -1;
    const base = this.get(chip, PRIORITY);
    let inService = this.get(chip, ISR);
    if (this.get(chip, SPECIAL_MASK)) inService &= ~imr;
    // In special fully nested mode the slave may interrupt itself through line 2.
    if (this.get(chip, FULLY_NESTED) && chip === 0) inService &= ~(1 << CASCADE);
    for (let i = 0; i < 8; i++) {
      const bit = 1 << ((base + i) & 7);
      if (inService & bit) return -1;
      if (requests & bit) return (base + i) & 7;
    }
    return -1;
  }

  private highestInService(chip: number): number {
    const base = this.get(chip, PRIORITY);
    let inService = this.get(chip, ISR);
    if (this.get(chip, SPECIAL_MASK)) inService &= ~this.get(chip, IMR);
    for (let i = 0; i < 8; i++) if (inService & (1 << ((base + i) & 7))) return (base + i) & 7;
    return -1;
  }

  private intack(chip: number): number {
    const line = this.priorityLine(chip);
    if (line < 0) return this.get(chip, IRQ_BASE) + 7; // gone meanwhile: spurious
    this.acknowledge(chip, line);
    const vector = chip === 0 && line === CASCADE ? this.intack(1) : this.get(chip, IRQ_BASE) + line;
    this.updateOutput(chip);
    return vector;
  }

  private acknowledge(chip: number, line: number): void {
    const bit = 1 << line;
    // The cascade line follows the slave's output alone.
    if (!(this.get(chip, ELCR) & bit) && !(chip === 0 && line === CASCADE)) this.set(chip, IRR, this.get(chip, IRR) & ~bit);
    if (!this.get(chip, AUTO_EOI)) this.set(chip, ISR, this.get(chip, ISR) | bit);
    else if (this.get(chip, ROTATE_AUTO_EOI)) this.set(chip, PRIORITY, (line + 1) & 7);
  }

  private get(chip: number, word: number): number {
    return this.u32[this.at + chip * WORDS + word]!;
  }

  private set(chip: number, word: number, value: number): void {
    this.u32[this.at + chip * WORDS + word] = value;
  }
}
