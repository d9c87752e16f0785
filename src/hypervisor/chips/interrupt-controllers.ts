/** A domain's interrupt controllers, wired together as the interrupt hub and the injection of events see them. */
import type { Clock } from '../../base/clock.ts';
import type { IoHandlers } from '../io/intercept.ts';
import type { GsiLines, InterruptControllers, InterruptInputs } from './irq.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { TimerQueue } from '../time/timer.ts';
import { Vioapic } from './vioapic.ts';
import { type VlapicHost, type VlapicOptions, Vlapics } from './vlapic.ts';
import { Vpic } from './vpic.ts';

export class VirtualInterruptControllers implements InterruptControllers, InterruptInputs {
  readonly vlapics: Vlapics;
  readonly vioapic: Vioapic;
  readonly vpic: Vpic;

  /** Makes the controllers and registers their handlers. */
  constructor(
    memory: MachineMemory,
    domid: number,
    clock: Clock,
    timers: TimerQueue,
    lines: GsiLines,
    io: IoHandlers,
    host: VlapicHost,
    options: VlapicOptions,
  ) {
    this.vlapics = new Vlapics(memory, domid, clock, timers, host, options);
    this.vioapic = new Vioapic(memory, domid, lines, this.vlapics);
    // The 8259s' output goes to vCPU 0 (i8259_target).
    this.vpic = new Vpic(memory, domid, () => {
      if (this.vlapics.acceptPicIntr(0)) host.kick(0);
    });
    io.registerMmioHandler(this.vlapics);
    io.registerMmioHandler(this.vioapic);
    this.vpic.register(io);
  }

  vioapicIrqPositiveEdge(gsi: number): void {
    this.vioapic.irqPositiveEdge(gsi);
  }

  vpicIrqPositiveEdge(irq: number): void {
    this.vpic.irqPositiveEdge(irq);
  }

  vpicIrqNegativeEdge(irq: number): void {
    this.vpic.irqNegativeEdge(irq);
  }

  vpicIntOutput(): boolean {
    return this.vpic.intOutput();
  }

  vlapicAcceptPicIntr(vcpu: number): boolean {
    return vcpu === 0 && this.vlapics.acceptPicIntr(vcpu);
  }

  vpicAckPendingIrq(vcpu: number): number {
    return this.vlapicAcceptPicIntr(vcpu) ? this.vpic.ackPendingIrq() : -1;
  }

  vlapicHasPendingIrq(vcpu: number): number {
    return this.vlapics.hasPendingIrq(vcpu);
  }

  vlapicAckPendingIrq(vcpu: number, vector: number): boolean {
    return this.vlapics.ackPendingIrq(vcpu, vector);
  }

  vlapicEnabled(vcpu: number): boolean {
    return this.vlapics.enabled(vcpu);
  }

  vlapicSetIrq(vcpu: number, vector: number, level: boolean): void {
    this.vlapics.setIrq(vcpu, vector, level);
  }

  getCr8(vcpu: number): number {
    return this.vlapics.getCr8(vcpu);
  }

  setCr8(vcpu: number, value: number): void {
    this.vlapics.setCr8(vcpu, value);
  }

  inspect(vcpu: number): string[] {
    return [...this.vlapics.inspect(vcpu), ...this.vioapic.inspect(), ...this.vpic.inspect()];
  }

  readMsr(vcpu: number, index: number): bigint | 'fault' | undefined {
    return this.vlapics.readMsr(vcpu, index);
  }

  writeMsr(vcpu: number, index: number, value: bigint): 'done' | 'fault' | 'unknown' {
    return this.vlapics.writeMsr(vcpu, index, value);
  }
}
