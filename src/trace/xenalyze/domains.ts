import { CycleSummary } from './cycles.ts';
import { Pcpu } from '../format/pcpu.ts';

/** Who runs where, and for how long: what is known of every domain, vCPU and pCPU at a point of the trace. */

export const DEFAULT_DOMAIN = 32768;
export const IDLE_DOMAIN = 32767;

/** Runstates: Xen's four, and the reader's own. */
export const LOST = 4;
export const QUEUED = 5;
export const INIT = 6;
export const RUNSTATE_NAMES = ['running', 'runnable', 'blocked', 'offline', 'lost', 'queued', 'init'] as const;
/** Name of a runstate number; numbers past those known print as C prints a null string. */
export const runstateName = (state: number): string => RUNSTATE_NAMES[state] ?? '(null)';

/** Why a vCPU is runnable. */
export const RUNNABLE_INVALID = 0;
export const RUNNABLE_WAKE = 1;
export const RUNNABLE_PREEMPT = 2;
export const RUNNABLE_OTHER = 3;
export const RUNNABLE_NAMES = ['invalid', 'wake', 'preempt', 'other'] as const;

/** What a domain's vCPUs do, taken together. */
export const DOMAIN_RUNSTATE_NAMES = [
  'blocked',
  'partial run',
  'full run',
  'partial contention',
  'concurrency_hazard',
  'full_contention',
  'lost',
] as const;

export const DATA_NONE = 0;
export const DATA_HVM = 1;
export const DATA_PV = 2;

/** Guest interrupt vectors that are told apart; higher ones share the last place. */
export const GUEST_INTERRUPT_MAX = 350;
/** What stands for the vector of an SVM injection whose vector is not known. */
export const FAKE_VECTOR = 349;

/** Words of what the current exit's handler recorded; handlers share them, as in xenalyze. */
const INFLIGHT_WORDS = 5;

interface GuestInterrupt {
  count: number;
  isWake: boolean;
  /** 0 none; 1 wanted at the next VMENTRY; else the TSC of that. */
  startTsc: number;
  /** Wake to halt alone, wake to halt any, interrupt to halt. */
  readonly runtime: readonly [CycleSummary, CycleSummary, CycleSummary];
}

/** IPIs that were sent to a vCPU and wait for their injection. */
interface OutstandingIpi {
  valid: boolean;
  vector: number;
  count: number;
  injected: boolean;
  firstTsc: number;
}
const VLAPIC_LIST = 8;

/** Reads and writes of one port or address. */
export interface IoAddress {
  address: number;
  va: number;
  readonly read: CycleSummary;
  readonly write: CycleSummary;
}

/** What a page fault under shadow paging was about. */
export interface ShadowFault {
  va: bigint;
  flags: number;
  errorCode: number;
  pfCase: number;
  gl1e: bigint;
  writeValue: bigint;
  correspondingVa: bigint;
  readonly ptIndex: [number, number, number, number, number];
  ptLevel: number;
  gfn: bigint;
}

export const POST_NONE = 0;
export const POST_GENERIC = 1;
export const POST_MMIO = 2;
export const POST_IO_READ = 3;
export const POST_IO_WRITE = 4;
export const POST_CR_WRITE = 5;
export const POST_MSR_WRITE = 6;
export const POST_MSR_READ = 7;
export const POST_VMCALL = 8;
export const POST_PF_XEN = 9;
export const POST_SHADOW_EMULATE = 10;
export const POST_SHADOW_FAULT = 11;
export const POST_SHADOW_FIXUP = 12;
export const POST_SHADOW_MMIO = 13;
export const POST_SHADOW_PROPAGATE = 14;

/** Cycle summaries by number, made when first needed. */
export class CycleTable {
  static readonly last = 4096;
  readonly entries: CycleSummary[] = [];

  /** Numbers past 4095, which only a damaged file holds, share a place. */
  at(index: number): CycleSummary {
    return (this.entries[Math.min(index, CycleTable.last)] ??= new CycleSummary());
  }

  add(index: number, cycles: number): void {
    const entry = this.entries[index];
    if (entry !== undefined) entry.add(cycles);
    else this.at(index).add(cycles);
  }
}

/** A vCPU of an HVM domain: the exit in progress and what was counted. */
export class HvmState {
  vmexitValid = false;
  summaryInfo = false;
  exitReason = 0;
  exitTsc = 0;
  entryTsc = 0;
  arcCycles = 0;
  ripLow = 0;
  ripHigh = 0;
  eventHandler = 0;
  postProcess = POST_NONE;
  readonly inflight = new Int32Array(INFLIGHT_WORDS);
  readonly fault: ShadowFault = {
    va: 0n,
    flags: 0,
    errorCode: 0,
    pfCase: 0,
    gl1e: 0n,
    writeValue: 0n,
    correspondingVa: 0n,
    ptIndex: [0, 0, 0, 0, 0],
    ptLevel: 0,
    gfn: 0n,
  };
  mmioGpaLow = 0;
  mmioGpaHigh = 0;
  mmioVa = 0;
  mmioData = 0;
  mmioDataValid = false;
  mmioIsWrite = false;
  /** It reached into the VGA window, whose addresses are not counted. */
  vga = false;
  resyncs = 0;
  preallocUnpin = false;
  wrmapBruteForce = false;
  cr3Low = 0;
  cr3High = 0;
  lastRdtscLow = 0;
  lastRdtscHigh = 0;

  /** From wake to halt. */
  waking = false;
  /** When it was woken, while `waking`. */
  wakingTsc = 0;
  wakeVector = 0;
  interrupts = 0;
  interruptsWantingTsc = 0;
  readonly guestInterrupts: (GuestInterrupt | undefined)[] = new Array<GuestInterrupt | undefined>(GUEST_INTERRUPT_MAX + 1).fill(
    undefined,
  );

  readonly exits = new CycleTable();
  readonly generic = new CycleTable();
  readonly mmio = new CycleTable();
  readonly crWrites = new CycleTable();
  readonly cr3WriteResyncs = new CycleTable();
  readonly vmcalls = new CycleTable();
  readonly pfXen = new CycleTable();
  readonly pfXenEmulate = new CycleTable();
  readonly pfXenNonEmulate = new CycleTable();
  readonly pfXenFixup = new CycleTable();
  readonly pfXenFixupUnsyncResync = new CycleTable();
  readonly externalInterrupts: number[] = [];
  readonly pio = new Map<number, IoAddress>();
  readonly mmioAddresses = new Map<number, IoAddress>();

  /** Vectors that were injected, rising: what a search through all interrupts must look at. */
  readonly vectors: number[] = [];

  guestInterrupt(vector: number): GuestInterrupt {
    const known = this.guestInterrupts[vector];
    if (known !== undefined) return known;
    const made: GuestInterrupt = {
      count: 0,
      isWake: false,
      startTsc: 0,
      runtime: [new CycleSummary(), new CycleSummary(), new CycleSummary()],
    };
    this.guestInterrupts[vector] = made;
    if (vector < GUEST_INTERRUPT_MAX) {
      this.vectors.push(vector);
      this.vectors.sort((a, b) => a - b);
    }
    return made;
  }
}

/** A vCPU of a PV domain: what was counted. */
export class PvState {
  readonly events: number[] = [];
  readonly hypercalls: number[] = [];
  readonly traps: number[] = [];
}

export class Vcpu {
  readonly id: number;
  readonly domain: Domain;
  activated = false;
  guestPagingLevels = 0;
  pcpu: TracedPcpu | null = null;
  pcpuTsc = 0;

  runstate = INIT;
  runstateTsc = 0;
  runnableState = RUNNABLE_INVALID;
  /** The last change whose old state did not match, to find TSC skew. */
  wrongOldState = INIT;
  wrongActual = 0;
  wrongPid = 0;
  wrongTsc = 0;

  readonly runstates = new CycleTable();
  readonly runnableStates = new CycleTable();
  readonly affinityAll = new CycleSummary();
  readonly affinity = new CycleTable();

  dataType = DATA_NONE;
  hvm: HvmState | null = null;
  pv: PvState | null = null;
  readonly ipis: OutstandingIpi[] = [];
  ipisOutstanding = false;

  constructor(domain: Domain, id: number) {
    this.domain = domain;
    this.id = id;
  }

  /** The list entry of an IPI vector, or a free one; null when the list is full. */
  ipi(vector: number): OutstandingIpi | null {
    let free: OutstandingIpi | null = null;
    if (this.ipis.length === 0) {
      for (let i = 0; i < VLAPIC_LIST; i++) this.ipis.push({ valid: false, vector: 0, count: 0, injected: false, firstTsc: 0 });
    }
    for (const entry of this.ipis) {
      if (entry.valid && entry.vector === vector) return entry;
      if (!entry.valid && free === null) free = entry;
    }
    if (free !== null) {
      free.vector = vector;
      free.valid = true;
      this.ipisOutstanding = true;
    }
    return free;
  }

  clearIpis(): void {
    for (const entry of this.ipis) clearIpi(entry);
    this.ipisOutstanding = false;
  }
}

export function clearIpi(entry: OutstandingIpi): void {
  entry.valid = false;
  entry.vector = 0;
  entry.count = 0;
  entry.injected = false;
  entry.firstTsc = 0;
}

export const POD_CONTEXT_NAMES = ['unknown', 'fault', 'balloon'] as const;

export class Domain {
  readonly id: number;
  /** By vCPU number; holes where none was seen. */
  readonly vcpus: (Vcpu | undefined)[] = [];
  runstate = 0;
  runstateTsc = 0;
  readonly runstates = new CycleTable();
  /** vCPUs in each runstate, those in INIT left out. */
  readonly inState = new Int32Array(7);
  vcpusKnown = 0;
  readonly memopsDone: number[] = [];
  readonly memopsDoneFor: number[] = [];
  readonly podPopulateOrder: number[] = [];
  readonly podReclaimOrder: number[] = [];
  readonly podReclaimContext: number[] = [];
  readonly podReclaimContextOrder: number[][] = [[], [], []];
  /** Emulated instructions of shadow paging, by rip. */
  readonly emulateRips = new Map<bigint, CycleSummary>();

  constructor(id: number) {
    this.id = id;
  }
}

/** Bytes of records by class, as the log volume summary tells them. */
class Volume {
  readonly toplevel = new Float64Array(8);
  schedVerbose = 0;
  hvmEntry = 0;
  hvmExit = 0;
  hvmHandler = 0;
}

export class TracedPcpu extends Pcpu {
  current: Vcpu | null = null;
  lostActive = false;
  lostTsc = 0;
  /** Who a lost-records record says runs after the loss; only while `lostDomainValid`. */
  lostDomainValid = false;
  lostDomid = 0;
  lostVcpu = 0;
  /** Records that the loss took. */
  lostCount = 0;
  /** A real schedule was seen since records were lost. */
  seenValidSchedule = true;
  powerState = 6;
  /** A record other than a CPU change was seen. */
  summary = false;
  readonly volume = new Volume();
  /** When the current vCPU began to run here; 0 for none. */
  timeTsc = 0;
  readonly running = new CycleSummary();
  readonly idle = new CycleSummary();
  readonly lost = new CycleSummary();
}
