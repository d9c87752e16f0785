/**
 * Model-specific registers that neither the engine nor the interrupt controllers hold (Xen: arch/x86/msr.c, hvm/hvm.c). What
 * is not here faults, as since Xen 4.15.
 */
import { PAGE_SIZE } from '../../base/address.ts';
import type { Gfn, Maddr } from '../../base/address.ts';
import { Efer, type Vcpu } from '../../cpu/interface.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { GuestMemory } from '../mm/guest-access.ts';
import { hypercallPage } from '../hypercall/hypercall.ts';
import type { InterruptControllers } from '../chips/irq.ts';
import { P2mType } from '../mm/p2m.ts';
import { updateVcpuSystemTime } from '../domain/time.ts';

const MSR = {
  tsc: 0x10,
  tscAdjust: 0x3b,
  microcodeRevision: 0x8b,
  platformInfo: 0xce,
  mtrrCap: 0xfe,
  mcgCap: 0x179,
  mcgStatus: 0x17a,
  miscEnable: 0x1a0,
  debugCtl: 0x1d9,
  mtrrDefType: 0x2ff,
  hypercallPage: 0x4000_0000,
  miscFeaturesEnables: 0x140,
} as const;

/** 8 variable ranges, fixed ranges, write combining. */
const MTRR_CAP = 0x508n;
/** Fast strings on; branch and event tracing not there. */
const MISC_ENABLE = 0x1801n;

/** MTRRs: eight base/mask pairs, eleven fixed ranges, the default type. */
const MTRR_INDEX: ReadonlyMap<number, number> = new Map([
  ...Array.from({ length: 16 }, (_, i) => [0x200 + i, i] as const),
  ...[0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f].map((msr, i) => [msr, 16 + i] as const),
  [MSR.mtrrDefType, 27] as const,
]);
/** Slots of the state: the MTRRs, DEBUGCTL, MISC_FEATURES_ENABLES. */
const SLOT_DEBUGCTL = 28;
const SLOT_MISC_FEATURES = 29;
const STATE_SIZE = 30 * 8;
/** CPUID always leaves, so that it can always be made to fault (calculate_hvm_max_policy). */
const PLATFORM_INFO = 1n << 31n;
const CPUID_FAULTING = 1n;
const SLOT_DEFTYPE = 27;
/** Memory types an MTRR takes: UC, WC, WT, WP, WB. */
const MTRR_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6]);

export type MsrWrite = 'done' | 'fault';

export class Msrs {
  private readonly domain: Domain;
  private readonly state: VcpuState;
  private readonly engine: Vcpu;
  private readonly guest: GuestMemory;
  private readonly controllers: InterruptControllers;
  private readonly base: Maddr;

  constructor(domain: Domain, state: VcpuState, engine: Vcpu, guest: GuestMemory, controllers: InterruptControllers) {
    this.domain = domain;
    this.state = state;
    this.engine = engine;
    this.guest = guest;
    this.controllers = controllers;
    const name = `msrs.d${state.domid}v${state.id}`;
    this.base = domain.pcpu.memory.xenheap(name, STATE_SIZE);
    // Reset state: MTRRs on, write-back by default, as firmware leaves it.
    if (this.slot(SLOT_DEFTYPE) === 0n) this.setSlot(SLOT_DEFTYPE, 0xc06n);
    this.loadTscOffset();
  }

  /** CPUID outside ring 0 is #GP(0): the guest asked for it. */
  get cpuidFaulting(): boolean {
    return (this.slot(SLOT_MISC_FEATURES) & CPUID_FAULTING) !== 0n;
  }

  /** guest_rdmsr: undefined: #GP. */
  read(index: number): bigint | undefined {
    const own = this.engine.readMsr(index);
    if (own !== undefined) return own;
    const controlled = this.controllers.readMsr(this.state.id, index);
    if (controlled !== undefined) return controlled === 'fault' ? undefined : controlled;
    const mtrr = MTRR_INDEX.get(index);
    if (mtrr !== undefined) return this.slot(mtrr);
    switch (index) {
      case MSR.tsc:
        return this.guestTsc();
      case MSR.tscAdjust:
        return this.state.tscAdjust;
      case MSR.microcodeRevision:
      case MSR.mcgCap:
      case MSR.mcgStatus:
        return 0n;
      case MSR.platformInfo:
        return PLATFORM_INFO;
      case MSR.miscFeaturesEnables:
        return this.slot(SLOT_MISC_FEATURES);
      case MSR.mtrrCap:
        return MTRR_CAP;
      case MSR.miscEnable:
        return MISC_ENABLE;
      case MSR.debugCtl:
        return this.slot(SLOT_DEBUGCTL);
      default:
        return undefined;
    }
  }

  /** guest_wrmsr. */
  write(index: number, value: bigint): MsrWrite {
    if (this.engine.writeMsr(index, value)) return 'done';
    // Held by the engine, and not a legal value.
    if (this.engine.readMsr(index) !== undefined) return 'fault';
    const controlled = this.controllers.writeMsr(this.state.id, index, value);
    if (controlled !== 'unknown') return controlled;
    const mtrr = MTRR_INDEX.get(index);
    if (mtrr !== undefined) return this.writeMtrr(mtrr, value);
    switch (index) {
      case MSR.tsc:
        return this.writeTsc(value);
      case MSR.tscAdjust:
        this.setTscOffset(value, value - this.state.tscAdjust);
        return 'done';
      case MSR.microcodeRevision:
      case MSR.miscEnable:
        // These hold nothing a guest can change.
        return 'done';
      case MSR.mcgStatus:
        return value === 0n ? 'done' : 'fault';
      case MSR.miscFeaturesEnables:
        if ((value & ~CPUID_FAULTING) !== 0n) return 'fault';
        this.setSlot(SLOT_MISC_FEATURES, value);
        return 'done';
      case MSR.debugCtl:
        // LBR and BTF; everything else is reserved or not there.
        if ((value & ~3n) !== 0n) return 'fault';
        this.setSlot(SLOT_DEBUGCTL, value);
        return 'done';
      case MSR.hypercallPage:
        return this.writeHypercallPage(value);
      default:
        return 'fault';
    }
  }

  private guestTsc(): bigint {
    return this.state.guestTsc(this.domain.pcpu.clock.tsc());
  }

  private writeTsc(value: bigint): MsrWrite {
    const delta = value - this.guestTsc();
    this.setTscOffset(this.state.tscAdjust + delta, delta);
    return 'done';
  }

  /** hvm_set_guest_tsc_msr, hvm_set_guest_tsc_adjust: move the TSC by `delta`; the paravirtual clock, which counts on it, follows. */
  private setTscOffset(adjust: bigint, delta: bigint): void {
    const { state, domain } = this;
    state.tscAdjust = adjust;
    state.tscOffset += delta;
    this.loadTscOffset();
    updateVcpuSystemTime(domain, state);
  }

  /** The engine takes the offset that machine memory holds. */
  loadTscOffset(): void {
    const { tscOffset } = this.state;
    this.engine.setTscOffset(Number(tscOffset & 0xffff_ffffn), Number(tscOffset >> 32n));
  }

  private writeMtrr(slot: number, value: bigint): MsrWrite {
    const bytes =
      slot < 16
        ? slot % 2 === 0
          ? [value & 0xffn]
          : []
        : slot === SLOT_DEFTYPE
          ? [value & 0xffn]
          : [0n, 8n, 16n, 24n, 32n, 40n, 48n, 56n].map((at) => (value >> at) & 0xffn);
    if (!bytes.every((type) => MTRR_TYPES.has(Number(type)))) return 'fault';
    if (slot === SLOT_DEFTYPE && (value & ~0xcffn) !== 0n) return 'fault';
    this.setSlot(slot, value);
    return 'done';
  }

  /** The guest names a page of its RAM; it becomes the hypercall page. Only page 0 exists. */
  private writeHypercallPage(value: bigint): MsrWrite {
    if ((value & 0xfffn) !== 0n) return 'fault';
    const gfn = Number(value >> 12n) as Gfn;
    if (this.guest.p2m.getType(gfn) !== P2mType.ramRw && this.guest.p2m.getType(gfn) !== P2mType.ramLogdirty) return 'fault';
    const longMode = (this.engine.registers.efer & Efer.lma) !== 0;
    this.domain.compatSharedInfo = !longMode;
    return this.guest.copyToPhys(Number(value) as Parameters<GuestMemory['copyToPhys']>[0], hypercallPage()) === PAGE_SIZE
      ? 'done'
      : 'fault';
  }

  private slot(index: number): bigint {
    return this.domain.pcpu.memory.view.getBigUint64(this.base + index * 8, true);
  }

  private setSlot(index: number, value: bigint): void {
    this.domain.pcpu.memory.view.setBigUint64(this.base + index * 8, value, true);
  }
}
