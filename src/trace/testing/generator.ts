import {
  DOMID_IDLE,
  RUNSTATE_BLOCKED,
  RUNSTATE_OFFLINE,
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  runstateChangeEvent,
  schedClassEvent,
  TRC_64_FLAG,
  TRC_HVM_EMUL,
  TRC_HVM_HANDLER,
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_IOPORT_READ,
  TRC_HVM_IOPORT_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_HVM_VMEXIT64,
  TRC_HW_IRQ,
  TRC_HW_PM,
  TRC_MEM,
  TRC_PV_ENTRY,
  TRC_PV_HYPERCALL_SUBCALL,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_VERBOSE,
  TRC_SHADOW,
} from '../events.ts';
import { NO_TSC, TraceFileWriter } from '../writer.ts';
import type { TraceSink } from '../writer.ts';

/** What a generated trace is to hold. */
export interface Workload {
  seed: number;
  cpus: number;
  /** Steps of the simulated host; each writes a few records. */
  steps: number;
  /** Exits carry SVM's reasons. */
  svm?: boolean;
  /** Chance per step of a record of any known kind, whatever its place. */
  oddities?: number;
  /** Chance per step of lost records. */
  losses?: number;
  /** CPUs' clocks differ by up to this many ticks. */
  skew?: number;
  windowBytes?: number;
  firstTsc?: number;
}

/** xorshift32: the same trace for the same seed, everywhere. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = (seed * 2654435761) | 1;
  }

  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return x >>> 0;
  }

  below(n: number): number {
    return this.next() % n;
  }

  chance(probability: number): boolean {
    return this.next() < probability * 0x100000000;
  }
}

interface GuestVcpu {
  dom: number;
  id: number;
  hvm: boolean;
  runstate: number;
  wide: boolean;
  inExit: boolean;
  /** Time of its latest runstate change: CPUs see a vCPU's changes in one order. */
  time: number;
}

const VMX = { npf: 48, io: 30, interrupt: 1, hlt: 12, cpuid: 10, msrWrite: 32, cr: 28, vmcall: 18, apic: 44, pending: 7 };
const SVM = {
  npf: 0x400,
  io: 123,
  interrupt: 96,
  hlt: 120,
  cpuid: 114,
  msrWrite: 124,
  cr: 19,
  vmcall: 129,
  apic: 0x400,
  pending: 100,
};

/** [event, extra words] of records that may stand anywhere. Values are random. */
const ANYWHERE: [number, number][] = [];
for (const n of [1, 2, 9]) ANYWHERE.push([TRC_SCHED_VERBOSE + n, 1]);
for (const n of [3, 4, 5, 6, 10, 14, 15, 17]) ANYWHERE.push([TRC_SCHED_VERBOSE + n, 4]);
for (const n of [7, 16]) ANYWHERE.push([TRC_SCHED_VERBOSE + n, 3]);
for (const n of [8, 11, 12, 13, 20]) ANYWHERE.push([TRC_SCHED_VERBOSE + n, 0]);
for (const [id, events] of [
  [0, 12],
  [1, 24],
  [2, 1],
  [3, 3],
  [4, 7],
  [5, 7],
] as const) {
  for (let n = 1; n <= events; n++) ANYWHERE.push([schedClassEvent(id, n), 5]);
}
// RTDS records of 4.10 and later, and of 4.9 and before.
ANYWHERE.push([schedClassEvent(4, 3), 6], [schedClassEvent(4, 4), 6], [schedClassEvent(4, 3), 4]);
ANYWHERE.push([0x2f00a, 4], [0x24001, 2], [0x41001, 1], [0x41002, 1], [0x42001, 1], [0x1f004, 4], [0x1f002, 3]);
for (const n of [1, 2, 3, 6]) ANYWHERE.push([TRC_MEM + n, 1]);
for (const n of [4, 5, 16, 17, 18]) ANYWHERE.push([TRC_MEM + n, 6]);
for (const n of [1, 2, 3, 4]) ANYWHERE.push([TRC_HW_PM + n, 2]);
for (let n = 1; n <= 9; n++) ANYWHERE.push([TRC_HW_IRQ + n, n === 3 || n === 6 ? 6 : 3]);
ANYWHERE.push([0x803001, 1]);

/** Records of a PV guest. */
const PV: [number, number][] = [];
for (const n of [1, 3, 4, 5, 6, 7, 8, 9, 10]) PV.push([TRC_PV_ENTRY + n, 3], [TRC_PV_ENTRY + n + TRC_64_FLAG, 5]);
PV.push([TRC_PV_ENTRY + 11 + TRC_64_FLAG, 6], [TRC_PV_ENTRY + 12, 4], [TRC_PV_ENTRY + 14, 2]);

/** Handlers without a meaning of their own for the reader, and such as it does not know. */
const HANDLERS: [number, number][] = [
  [0x02, 2],
  [0x102, 3],
  [0x03, 2],
  [0x05, 1],
  [0x06, 2],
  [0x07, 2],
  [0x08, 2],
  [0x108, 3],
  [0x09, 2],
  [0x109, 3],
  [0x0a, 0],
  [0x0b, 0],
  [0x0c, 3],
  [0x0d, 3],
  [0x0e, 6],
  [0x0f, 1],
  [0x10, 0],
  [0x11, 0],
  [0x12, 1],
  [0x13, 1],
  [0x14, 2],
  [0x114, 3],
  [0x15, 0],
  [0x16, 2],
  [0x17, 1],
  [0x17, 2],
  [0x117, 3],
  [0x117, 4],
  [0x216, 2],
  [0x217, 2],
  [0x217, 1],
  [0x317, 4],
  [0x18, 0],
  [0x19, 1],
  [0x119, 2],
  [0x1a, 2],
  [0x20, 3],
  [0x21, 6],
  [0x22, 0],
  [0x23, 1],
  [0x24, 1],
  [0x25, 0],
  [0x126, 3],
  [0x127, 3],
  [0x100, 0],
  [0x01, 2],
  [0x101, 3],
];
const SHADOW: [number, number][] = [
  [1, 3],
  [6, 3],
  [8, 4],
  [2, 1],
  [4, 1],
  [5, 1],
  [3, 1],
  [7, 1],
  [9, 2],
  [10, 2],
  [11, 2],
  [12, 2],
  [13, 2],
  [14, 2],
  [15, 2],
  [0x101, 4],
  [0x106, 4],
  [0x108, 6],
  [0x105, 1],
  [0x205, 2],
  [0x209, 4],
  [0x20b, 4],
  [0x20c, 2],
  [16, 2],
];

/** A host of several CPUs and domains, simulated just well enough to be traced. */
export class Generator {
  private readonly load: Workload;
  private readonly random: Random;
  private readonly writer: TraceFileWriter;
  private readonly time: number[] = [];
  private readonly offset: number[] = [];
  private readonly current: (GuestVcpu | null)[] = [];
  private readonly vcpus: GuestVcpu[] = [];
  records = 0;

  constructor(load: Workload, sink: TraceSink) {
    this.load = load;
    this.random = new Random(load.seed);
    this.writer = new TraceFileWriter(sink, load.cpus, load.windowBytes ?? 32768);
    for (let cpu = 0; cpu < load.cpus; cpu++) {
      this.time.push((load.firstTsc ?? 1_000_000) + cpu * 37);
      this.offset.push(load.skew === undefined ? 0 : this.random.below(load.skew));
      this.current.push(null);
    }
    for (let i = 0; i < load.cpus; i++)
      this.vcpus.push({ dom: 0, id: i, hvm: false, runstate: RUNSTATE_BLOCKED, wide: true, inExit: false, time: 0 });
    for (let dom = 1; dom <= 3; dom++) {
      for (let id = 0; id < Math.min(4, load.cpus + 1); id++) {
        this.vcpus.push({ dom, id, hvm: dom < 3, runstate: RUNSTATE_BLOCKED, wide: dom === 1, inExit: false, time: 0 });
      }
    }
  }

  /** Write the whole trace. */
  run(): void {
    for (let step = 0; step < this.load.steps; step++) this.step();
    this.finish();
  }

  finish(): void {
    this.writer.flush();
  }

  get bytesWritten(): number {
    return this.writer.bytesWritten;
  }

  step(): void {
    let cpu = 0;
    for (let i = 1; i < this.time.length; i++) if (this.time[i]! < this.time[cpu]!) cpu = i;
    const random = this.random;
    if (this.load.losses !== undefined && random.chance(this.load.losses)) this.lose(cpu);
    const v = this.current[cpu]!;
    if (v === null) this.schedule(cpu);
    else if (random.below(100) < 8) this.deschedule(cpu, v);
    else if (random.below(100) < 6) this.wake(cpu);
    else if (v.hvm) this.exit(cpu, v);
    else this.pv(cpu, v);
    if (this.load.oddities !== undefined && random.chance(this.load.oddities)) this.odd(cpu);
  }

  private tick(cpu: number, most: number): number {
    this.time[cpu]! += 1 + this.random.below(most);
    return this.time[cpu]! + this.offset[cpu]!;
  }

  private put(cpu: number, event: number, tsc: number, count = 0, w0 = 0, w1 = 0, w2 = 0, w3 = 0, w4 = 0, w5 = 0, w6 = 0): void {
    this.records++;
    this.writer.record(cpu, event, tsc, count, w0, w1, w2, w3, w4, w5, w6);
  }

  private runstate(cpu: number, v: GuestVcpu, to: number): void {
    this.time[cpu] = Math.max(this.time[cpu]!, v.time);
    this.put(cpu, runstateChangeEvent(v.runstate, to), this.tick(cpu, 60), 1, v.id | (v.dom << 16));
    v.runstate = to;
    v.time = this.time[cpu]!;
  }

  private idle(cpu: number, from: number, to: number): void {
    this.put(cpu, runstateChangeEvent(from, to), this.tick(cpu, 60), 1, cpu | (DOMID_IDLE << 16));
  }

  private schedule(cpu: number): void {
    const random = this.random;
    const ready = this.vcpus.filter((v) => v.runstate === RUNSTATE_RUNNABLE);
    if (ready.length === 0 || random.below(4) === 0) {
      this.idle(cpu, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
      this.put(cpu, TRC_HW_PM + 2, this.tick(cpu, 300), 2, 1, random.below(1000));
      this.wake(cpu);
      this.put(cpu, TRC_HW_PM + 3, this.tick(cpu, 20000), 2, 1, random.below(1000));
      this.idle(cpu, RUNSTATE_RUNNING, RUNSTATE_RUNNABLE);
      return;
    }
    const v = ready[random.below(ready.length)]!;
    this.put(cpu, TRC_SCHED_VERBOSE + 14, this.tick(cpu, 200), 3, DOMID_IDLE, cpu, random.below(1_000_000));
    this.put(cpu, TRC_SCHED_VERBOSE + 15, this.tick(cpu, 100), 4, v.dom, v.id, random.below(1_000_000), 10_000_000);
    this.put(cpu, TRC_SCHED_VERBOSE + 10, this.tick(cpu, 100), 4, DOMID_IDLE, cpu, v.dom, v.id);
    this.runstate(cpu, v, RUNSTATE_RUNNING);
    this.current[cpu] = v;
    if (v.inExit) this.enter(cpu, v);
  }

  private enter(cpu: number, v: GuestVcpu): void {
    if (v.hvm && this.random.below(3) === 0) this.put(cpu, TRC_HVM_INJ_VIRQ, NO_TSC, 2, 0x30 + this.random.below(4) * 16, 0);
    this.put(cpu, TRC_HVM_VMENTRY, this.tick(cpu, 900));
    v.inExit = false;
  }

  private deschedule(cpu: number, v: GuestVcpu): void {
    const random = this.random;
    this.put(cpu, schedClassEvent(1, 21), this.tick(cpu, 200), 2, cpu, random.below(2) << 8);
    this.put(
      cpu,
      schedClassEvent(1, 3),
      this.tick(cpu, 100),
      4,
      v.id | (v.dom << 16),
      random.below(10_000_000),
      -0x80000000,
      random.below(500_000),
    );
    if (random.below(5) === 0) {
      this.put(cpu, TRC_SCHED_CONTINUE_RUNNING, this.tick(cpu, 50), 1, v.id | (v.dom << 16));
      return;
    }
    this.put(
      cpu,
      schedClassEvent(1, 12),
      this.tick(cpu, 100),
      6,
      random.below(1 << 20),
      0,
      random.below(1 << 20),
      0,
      1 | (18 << 24),
      0,
    );
    this.runstate(cpu, v, [RUNSTATE_BLOCKED, RUNSTATE_RUNNABLE, RUNSTATE_BLOCKED, RUNSTATE_OFFLINE][random.below(4)]!);
    this.current[cpu] = null;
  }

  private wake(cpu: number): void {
    const sleeping = this.vcpus.filter((v) => v.runstate === RUNSTATE_BLOCKED || v.runstate === RUNSTATE_OFFLINE);
    if (sleeping.length === 0) return;
    const v = sleeping[this.random.below(sleeping.length)]!;
    this.put(cpu, TRC_SCHED_VERBOSE + 4, this.tick(cpu, 400), 2, v.dom, v.id);
    this.runstate(cpu, v, RUNSTATE_RUNNABLE);
  }

  private pv(cpu: number, v: GuestVcpu): void {
    const random = this.random;
    const call = [1, 13, 20, 24, 26, 29, 32, 12, 17, 23][random.below(10)]!;
    this.put(
      cpu,
      TRC_PV_ENTRY + 13,
      this.tick(cpu, 3000),
      4,
      call | (1 << 20) | (1 << 22) | (1 << 24),
      random.below(12),
      random.below(9),
      random.below(5),
    );
    if (random.below(4) === 0)
      this.put(
        cpu,
        TRC_PV_HYPERCALL_SUBCALL,
        this.tick(cpu, 300),
        4,
        14 | (2 << 20) | (1 << 24),
        random.next(),
        random.next(),
        v.id,
      );
    if (random.below(4) === 0) this.put(cpu, TRC_PV_ENTRY + 6 + TRC_64_FLAG, NO_TSC, 2, 0x81022506, 0xffffffff);
  }

  private exit(cpu: number, v: GuestVcpu): void {
    const random = this.random;
    const reasons = this.load.svm ? SVM : VMX;
    const kind = random.below(12);
    const rip = 0x81000000 + random.below(0x8000) * 16;
    const vmexit = (reason: number): void => {
      if (v.wide) this.put(cpu, TRC_HVM_VMEXIT64, this.tick(cpu, 8000), 3, reason, rip, 0xffffffff);
      else this.put(cpu, TRC_HVM_VMEXIT, this.tick(cpu, 8000), 2, reason, rip);
    };
    v.inExit = true;
    const gpa = 0xf2050000 + random.below(64) * 4;
    switch (kind) {
      case 0:
        vmexit(reasons.npf);
        this.put(cpu, TRC_HVM_IOMEM_WRITE, NO_TSC, 2, gpa, random.next());
        this.put(cpu, TRC_HVM_NPF, NO_TSC, 6, gpa, 0, -1, -1, 0x182, 4);
        break;
      case 1:
        vmexit(reasons.npf);
        this.put(cpu, TRC_HVM_NPF, NO_TSC, 6, gpa, 0, -1, -1, 0x181, 4);
        if (random.below(2) === 0) {
          this.runstate(cpu, v, RUNSTATE_OFFLINE);
          this.current[cpu] = null;
          return;
        }
        this.put(cpu, TRC_HVM_IOMEM_READ, NO_TSC, 2, gpa, random.next());
        break;
      case 2:
        vmexit(reasons.io);
        this.put(cpu, TRC_HVM_IOPORT_WRITE, NO_TSC, 2, 0xcf8 + random.below(8), random.next());
        break;
      case 3:
        vmexit(reasons.io);
        this.put(cpu, TRC_HVM_IOPORT_READ, NO_TSC, 2, 0x70 + random.below(2), random.below(256));
        break;
      case 4:
        vmexit(reasons.interrupt);
        this.put(cpu, TRC_HVM_HANDLER + 0x0f, NO_TSC, 1, 0xf0 + random.below(16));
        break;
      case 5:
        vmexit(reasons.hlt);
        this.put(cpu, TRC_HVM_HANDLER + 0x13, NO_TSC, 1, 0);
        this.runstate(cpu, v, RUNSTATE_BLOCKED);
        this.current[cpu] = null;
        return;
      case 6:
        vmexit(reasons.cpuid);
        this.put(
          cpu,
          TRC_HVM_HANDLER + 0x0e,
          NO_TSC,
          6,
          random.below(0x20),
          0,
          random.next(),
          random.next(),
          random.next(),
          random.next(),
        );
        break;
      case 7:
        vmexit(reasons.msrWrite);
        this.put(cpu, TRC_HVM_HANDLER + 0x0d, NO_TSC, 3, 0x6e0, random.next(), 1);
        break;
      case 8:
        vmexit(reasons.cr);
        if (v.wide)
          this.put(
            cpu,
            TRC_HVM_HANDLER + 0x109,
            NO_TSC,
            3,
            [0, 3, 3, 4][random.below(4)]!,
            random.below(4) * 0x1000,
            random.below(2),
          );
        else this.put(cpu, TRC_HVM_HANDLER + 0x09, NO_TSC, 2, [0, 3, 3, 4][random.below(4)]!, random.below(4) * 0x1000);
        break;
      case 9:
        vmexit(reasons.vmcall);
        this.put(cpu, TRC_HVM_HANDLER + 0x12, NO_TSC, 1, random.below(45));
        break;
      case 10: {
        vmexit(reasons.apic);
        const icr = random.below(3);
        this.put(
          cpu,
          icr === 2 ? TRC_HVM_IOMEM_READ : TRC_HVM_IOMEM_WRITE,
          NO_TSC,
          2,
          [0xfee00300, 0xfee000b0, 0xfee00300][icr]!,
          (random.below(4) << 18) | 0x30,
        );
        break;
      }
      default:
        vmexit(reasons.pending);
        this.put(cpu, TRC_HVM_HANDLER + 0x20, NO_TSC, 3, 0x30, 2, random.below(2) === 0 ? -1 : 0x30);
        this.put(cpu, TRC_HVM_EMUL + 0x11, this.tick(cpu, 50), 2, 0, 1);
    }
    this.enter(cpu, v);
  }

  /** A record of any kind, with random content. */
  private odd(cpu: number): void {
    const random = this.random;
    const v = this.current[cpu] ?? null;
    const word = (): number => (random.below(3) === 0 ? random.below(200) : random.next());
    const anything = random.below(3);
    let [event, count] = ANYWHERE[random.below(ANYWHERE.length)]!;
    if (v !== null && anything > 0) {
      if (!v.hvm) {
        [event, count] = PV[random.below(PV.length)]!;
      } else {
        const shadow = random.below(6) === 0;
        const list = shadow ? SHADOW : HANDLERS;
        [event, count] = list[random.below(list.length)]!;
        event += shadow ? TRC_SHADOW : TRC_HVM_HANDLER;
      }
    }
    // xenalyze takes an IRQ number past its table, or a negative one, for an index and crashes.
    const small = event >>> 12 === 0x28 || event >>> 12 === 0x802;
    const tsc = random.below(2) === 0 ? this.tick(cpu, 500) : NO_TSC;
    this.put(
      cpu,
      event,
      tsc,
      count,
      small ? random.below(4) : word(),
      small ? random.below(4) : word(),
      word(),
      word(),
      word(),
      word(),
    );
  }

  private lose(cpu: number): void {
    const first = this.tick(cpu, 400);
    const lost = 1 + this.random.below(500);
    const tsc = this.tick(cpu, 200_000);
    const v = this.current[cpu] ?? null;
    this.records++;
    this.writer.lost(cpu, tsc, lost, v === null ? DOMID_IDLE : v.dom, v === null ? cpu : v.id, first);
    if (v === null) this.idle(cpu, RUNSTATE_RUNNING, RUNSTATE_RUNNABLE);
  }
}

/** The bytes of a generated trace. */
export function generateTrace(load: Workload): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const generator = new Generator(load, (bytes) => void parts.push(bytes.slice()));
  generator.run();
  const all = new Uint8Array(generator.bytesWritten);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
