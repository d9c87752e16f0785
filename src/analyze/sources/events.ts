import type { Ref } from './evidence.ts';

/**
 * The records of a trace that an I/O path is read from, in one form whether they come from xentrace's binary or
 * from xenalyze's text. Events arrive in the order of the merged trace: time never goes back.
 */
interface EventBase {
  readonly ref: Ref;
  /** Nanoseconds since the first record with a TSC, by the TSC frequency the reader was told. */
  readonly timeNs: number;
  readonly pcpu: number;
  /** The vCPU that is current on `pcpu`; -1 where the trace does not show it. */
  readonly dom: number;
  readonly vcpu: number;
}

export interface VmexitEvent extends EventBase {
  readonly kind: 'vmexit';
  /** As xenalyze names it: EPT_VIOLATION, VMEXIT_NPF, VMEXIT_IOIO … */
  readonly reason: string;
  readonly rip: bigint;
}
interface VmentryEvent extends EventBase {
  readonly kind: 'vmentry';
}
export interface NpfEvent extends EventBase {
  readonly kind: 'npf';
  readonly gpa: number;
  /** undefined for INVALID_MFN: no machine frame stands behind the guest frame. */
  readonly mfn: bigint | undefined;
  readonly qualification: number;
  readonly p2mType: number;
}
export interface IoEvent extends EventBase {
  readonly kind: 'io';
  readonly space: 'mmio' | 'pio';
  /** undefined where xenalyze's raw form hides it (`mmio_assist [ … ]`). */
  readonly dir: 'read' | 'write' | undefined;
  /** Guest-physical address or port. */
  readonly addr: number;
  /** undefined when the ioreq's data is a pointer: the record then has none. */
  readonly data: bigint | undefined;
  /** The line of a text ends before the data, which is unknown. */
  readonly cut?: true;
}
export type Runstate = 'running' | 'runnable' | 'blocked' | 'offline';
/** dom and vcpu are those whose state changes. */
export interface RunstateEvent extends EventBase {
  readonly kind: 'runstate';
  readonly from: Runstate;
  readonly to: Runstate;
}
/** A hypercall of a PV guest (dom0) or, `hvm`, a VMCALL/VMMCALL exit. */
interface HypercallEvent extends EventBase {
  readonly kind: 'hypercall';
  readonly number: number;
  readonly hvm: boolean;
}
/** A virtual interrupt goes into the guest with the next VM entry. */
interface InjectEvent extends EventBase {
  readonly kind: 'inject';
  readonly vector: number;
}
/** Records of `pcpu` were lost from timeNs to `untilNs`. A text tells only the end: then the two are equal. */
export interface LostEvent extends EventBase {
  readonly kind: 'lost';
  readonly count: number;
  readonly untilNs: number;
}
export interface P2mEvent extends EventBase {
  readonly kind: 'p2m';
  /** Domain whose p2m changed. */
  readonly domid: number;
  readonly gfn: number;
  readonly mfn: bigint | undefined;
  readonly p2mType: number;
  readonly order: number;
}

export type TraceEvent =
  | VmexitEvent
  | VmentryEvent
  | NpfEvent
  | IoEvent
  | RunstateEvent
  | HypercallEvent
  | InjectEvent
  | LostEvent
  | P2mEvent;

/** Xen's hypercall numbers that matter to the question who translated (public/xen.h). */
export const Hypercall = {
  mmuUpdate: 1,
  memoryOp: 12,
  multicall: 13,
  updateVaMapping: 14,
  grantTableOp: 20,
  updateVaMappingOther: 22,
  dmOp: 41,
} as const;

/** p2m types, the same numbers in Xen 4.4 and 4.17 (asm-x86/p2m.h). */
export const P2M_TYPE: readonly string[] = [
  'ram_rw',
  'invalid',
  'ram_logdirty',
  'ram_ro',
  'mmio_dm',
  'mmio_direct',
  'populate_on_demand',
  'grant_map_rw',
  'grant_map_ro',
  'paging_out',
  'paged',
  'paging_in',
  'shared',
  'broken',
  'map_foreign',
  'ioreq_server',
];
