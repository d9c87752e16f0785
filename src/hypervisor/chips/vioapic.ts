/**
 * The IO-APIC (Xen: arch/x86/hvm/vioapic.c): 48 pins, pin n is GSI n. Its state lies in machine memory under the domain's
 * `irq` lock: a device model raises lines from another thread.
 */
import type { Gpa } from '../../base/address.ts';
import { type RegisterReading, registerReading } from '../../base/registers.ts';
import {
  IOAPIC_PINS,
  ioapicRegisters,
  IOREDTBL,
  IOREDTBL_HIGH_WRITABLE,
  IOREDTBL_LOW_WRITABLE,
  IOREDTBL_RESET,
  redirectionEntry,
} from '../../abi/registers/ioapic.ts';
import { Emul, type HvmMmioOps, type IoAccess } from '../io/intercept.ts';
import type { GsiLines } from './irq.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { Vlapics } from './vlapic.ts';

const VIOAPIC_DEFAULT_BASE = 0xfec00000;

/** State, in words. */
const IOAPICARB = ioapicRegisters.find(({ name }) => name === 'IOAPICARB')!.offset;
const SELECT = 0;
const READY = 1;
const IDENTIFIER = 2;
const TABLE = 4; // low, high of every pin
const STATE_SIZE = (TABLE + IOAPIC_PINS * 2) * 4;

const VECTOR = 0xff;
const LOGICAL = 1 << 11;
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;

export class Vioapic implements HvmMmioOps {
  readonly name = 'vioapic';
  private readonly u32: Uint32Array;
  private readonly at: number;
  private readonly lines: GsiLines;
  private readonly lapics: Vlapics;
  /** Arguments and results of work under the lock: the handlers allocate nothing. */
  private argument = 0;
  private value = 0;
  private readonly readWork = (): void => void (this.value = this.readWindow());
  private readonly writeWork = (): void => this.writeWindow(this.argument);
  private readonly eoiWork = (): void => this.clearRemoteIrr(this.argument);

  constructor(memory: MachineMemory, domid: number, lines: GsiLines, lapics: Vlapics) {
    this.u32 = memory.u32;
    this.at = memory.xenheap(`vioapic.d${domid}`, STATE_SIZE) >>> 2;
    this.lines = lines;
    this.lapics = lapics;
    lapics.eoiBroadcasts.add((vector) => this.updateEoi(vector));
    if (this.u32[this.at + READY] === 0) this.reset();
  }

  reset(): void {
    this.u32.fill(0, this.at, this.at + STATE_SIZE / 4);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) this.u32[this.low(pin)] = IOREDTBL_RESET;
    this.u32[this.at + READY] = 1;
  }

  /** A line has become asserted. With the `irq` lock held. */
  irqPositiveEdge(gsi: number): void {
    if (gsi >= IOAPIC_PINS) return;
    const entry = this.u32[this.low(gsi)]!;
    if (entry & MASKED) return;
    if (!(entry & LEVEL)) this.deliver(gsi);
    else if (!(entry & REMOTE_IRR)) {
      this.u32[this.low(gsi)] = entry | REMOTE_IRR;
      this.deliver(gsi);
    }
  }

  /** A local APIC ended a level-triggered vector: pins with this vector may interrupt again, and do if still asserted. */
  updateEoi(vector: number): void {
    this.argument = vector;
    this.lines.locked(this.eoiWork);
  }

  check(address: Gpa): boolean {
    return address >= VIOAPIC_DEFAULT_BASE && address < VIOAPIC_DEFAULT_BASE + 0x100;
  }

  read(access: IoAccess): Emul {
    access.lo = 0;
    access.hi = 0;
    switch (access.address & 0xff) {
      case 0x00:
        access.lo = this.u32[this.at + SELECT]!;
        break;
      case 0x10:
        this.lines.locked(this.readWork);
        access.lo = this.value;
        break;
      default:
    }
    return Emul.okay;
  }

  write(access: IoAccess): Emul {
    switch (access.address & 0xff) {
      case 0x00:
        this.u32[this.at + SELECT] = access.lo & 0xff;
        break;
      case 0x10:
        this.argument = access.lo;
        this.lines.locked(this.writeWork);
        break;
      default:
    }
    return Emul.okay;
  }

  /** What it holds, seen from outside; `offset` of a register is the number that selects it. */
  registers(): RegisterReading[] {
    const own = ioapicRegisters.map((register) => registerReading(register, this.valueOf(register.offset)));
    const entries = Array.from({ length: IOAPIC_PINS }, (_, pin) =>
      redirectionEntry.map((register) => registerReading(register, this.valueOf(register.offset + pin * 2), pin)),
    );
    return [...own, ...entries.flat()];
  }

  private readWindow(): number {
    return this.valueOf(this.u32[this.at + SELECT]!);
  }

  private valueOf(select: number): number {
    // The arbitration identifier follows the other.
    if (select === 0 || select === IOAPICARB) return this.u32[this.at + IDENTIFIER]!;
    if (select < IOREDTBL) return ioapicRegisters.find((r) => r.offset === select)?.reset ?? 0;
    const index = select - IOREDTBL;
    return index < IOAPIC_PINS * 2 ? this.u32[this.at + TABLE + index]! : 0;
  }

  private writeWindow(value: number): void {
    const select = this.u32[this.at + SELECT]!;
    if (select === 0) this.u32[this.at + IDENTIFIER] = value & ioapicRegisters[0]!.writable!;
    const index = select - IOREDTBL;
    if (index < 0 || index >= IOAPIC_PINS * 2) return;
    const word = this.at + TABLE + index;
    if (index & 1) {
      this.u32[word] = value & IOREDTBL_HIGH_WRITABLE;
      return;
    }
    const gsi = index >> 1;
    let entry = (this.u32[word]! & ~IOREDTBL_LOW_WRITABLE) | (value & IOREDTBL_LOW_WRITABLE);
    if (!(entry & LEVEL)) entry &= ~REMOTE_IRR;
    this.u32[word] = entry;
    // A level pin that was asserted while masked interrupts now.
    if ((entry & (LEVEL | MASKED | REMOTE_IRR)) === LEVEL && this.lines.gsiAssertCount(gsi) > 0) this.irqPositiveEdge(gsi);
  }

  /** A line a pin that is asserted or not masked, for a dump. */
  inspect(): string[] {
    const lines: string[] = [];
    let masked = 0;
    for (let gsi = 0; gsi < IOAPIC_PINS; gsi++) {
      const entry = this.u32[this.low(gsi)]!;
      const asserted = this.lines.gsiAssertCount(gsi) > 0;
      if (entry & MASKED) masked++;
      if (entry & MASKED && !asserted) continue;
      lines.push(
        `IO-APIC pin ${gsi}: vector 0x${(entry & VECTOR).toString(16).padStart(2, '0')}, ${entry & LEVEL ? 'level' : 'edge'}` +
          `${entry & MASKED ? ', masked' : ''}${asserted ? ', asserted' : ''}${entry & REMOTE_IRR ? ', remote IRR' : ''}`,
      );
    }
    return [...lines, `IO-APIC: ${masked} of ${IOAPIC_PINS} pins masked`];
  }

  private clearRemoteIrr(vector: number): void {
    for (let gsi = 0; gsi < IOAPIC_PINS; gsi++) {
      const entry = this.u32[this.low(gsi)]!;
      if ((entry & VECTOR) !== vector || !(entry & REMOTE_IRR)) continue;
      this.u32[this.low(gsi)] = entry & ~REMOTE_IRR;
      if (this.lines.gsiAssertCount(gsi) > 0) this.irqPositiveEdge(gsi);
    }
  }

  private deliver(gsi: number): void {
    const entry = this.u32[this.low(gsi)]!;
    const destination = this.u32[this.low(gsi) + 1]! >>> 24;
    this.lapics.deliver(destination, (entry & LOGICAL) !== 0, (entry >>> 8) & 7, entry & VECTOR, (entry & LEVEL) !== 0);
  }

  private low(gsi: number): number {
    return this.at + TABLE + gsi * 2;
  }
}
