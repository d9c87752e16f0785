/** A trace as lanes of spans, for a picture: who ran when, and why the guest left. */
import { type Analysis, ioPaths, registerNames } from '../analyze/index.ts';
import { decodeRecord, type Trace } from '../trace/index.ts';
import {
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_SVM_EXIT,
  TRC_HVM_SVM_EXIT64,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_HVM_VMEXIT64,
  TRC_LOST_RECORDS,
} from '../trace/index.ts';

/** Spans that a timeline holds at most, over all lanes. */
const MOST_SPANS = 4_000_000;
const IDLE_DOMAIN = 32767;

/** Equal lanes of numbers: span i lasts from `start[i]` to `end[i]`, nanoseconds of trace time, in rising order. */
export interface Lane {
  /** `pCPU 2`, `d1v0`, `d1v0 in Xen`, `d1v0 I/O`, `lost records`. */
  readonly name: string;
  /**
   * pcpu: who runs on it. runstate: what a vCPU does. xen: between a VM exit and the next entry. access: a register access of the
   * driver, from exit to entry. interrupt: moments. lost: records that are missing.
   */
  readonly kind: 'pcpu' | 'runstate' | 'xen' | 'access' | 'interrupt' | 'lost';
  readonly start: Float64Array;
  readonly end: Float64Array;
  /** Index into `labels`. */
  readonly label: Uint16Array;
  /** File offset of the record that begins the span. */
  readonly offset: Float64Array;
  /** vCPUs, runstates, exit reasons, registers or vectors. */
  readonly labels: readonly string[];
}

export interface Timeline {
  readonly lanes: readonly Lane[];
  /** Nanoseconds of trace time at the end. */
  readonly endNs: number;
  /** Nanoseconds of the TSC where trace time begins. */
  readonly originNs: number;
  readonly records: number;
  /** There were more spans than are kept: the rest is left out. */
  readonly cut: boolean;
}

class GrowingLane {
  private length = 0;
  private start = new Float64Array(256);
  private end = new Float64Array(256);
  private label = new Uint16Array(256);
  private offset = new Float64Array(256);
  private readonly labels: string[] = [];
  private readonly numbers = new Map<string, number>();
  readonly name: string;
  readonly kind: Lane['kind'];
  /** The span that has begun and not ended. */
  open = false;

  constructor(name: string, kind: Lane['kind']) {
    this.name = name;
    this.kind = kind;
  }

  begin(ns: number, label: string, offset: number): void {
    if (this.length === this.start.length) this.grow();
    let number = this.numbers.get(label);
    if (number === undefined) {
      number = Math.min(this.labels.length, 0xffff);
      this.labels[number] = label;
      this.numbers.set(label, number);
    }
    const i = this.length++;
    this.start[i] = ns;
    this.end[i] = ns;
    this.label[i] = number;
    this.offset[i] = offset;
    this.open = true;
  }

  finish(ns: number): void {
    if (this.open) this.end[this.length - 1] = Math.max(ns, this.start[this.length - 1]!);
    this.open = false;
  }

  lane(): Lane {
    const { name, kind, labels, length } = this;
    return {
      name,
      kind,
      labels,
      start: this.start.slice(0, length),
      end: this.end.slice(0, length),
      label: this.label.slice(0, length),
      offset: this.offset.slice(0, length),
    };
  }

  private grow(): void {
    const bigger = this.start.length * 2;
    const wider = (from: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const to = new Float64Array(bigger);
      to.set(from);
      return to;
    };
    this.start = wider(this.start);
    this.end = wider(this.end);
    this.offset = wider(this.offset);
    const label = new Uint16Array(bigger);
    label.set(this.label);
    this.label = label;
  }
}

/** Reads a trace once. @param progress called now and then with how many records were read */
export async function readTimeline(trace: Trace, progress: (records: number) => void = () => {}): Promise<Timeline> {
  const lanes = new Map<string, GrowingLane>();
  let records = 0;
  let spans = 0;
  let endNs = 0;
  /** Where each vCPU runs. */
  const running = new Map<string, GrowingLane>();
  const laneOf = (name: string, kind: Lane['kind']): GrowingLane => {
    let lane = lanes.get(name);
    if (lane === undefined) lanes.set(name, (lane = new GrowingLane(name, kind)));
    return lane;
  };
  const begin = (lane: GrowingLane, ns: number, label: string, offset: number): void => {
    if (spans >= MOST_SPANS) return;
    spans++;
    lane.begin(ns, label, offset);
  };
  await trace.scan((r) => {
    records++;
    if (records % 1_000_000 === 0) progress(records);
    const { event } = r;
    const isRunstate = (event & 0xffff_f00f) === 0x0002_1001;
    if (
      !isRunstate &&
      event !== TRC_HVM_VMEXIT &&
      event !== TRC_HVM_VMEXIT64 &&
      event !== TRC_HVM_SVM_EXIT &&
      event !== TRC_HVM_SVM_EXIT64 &&
      event !== TRC_HVM_VMENTRY &&
      event !== TRC_HVM_INJ_VIRQ &&
      event !== TRC_LOST_RECORDS
    )
      return;
    const ns = trace.scale.ns(r.tsc - trace.firstTsc);
    if (ns > endNs) endNs = ns;
    if (event === TRC_HVM_VMENTRY) {
      if (r.dom >= 0) laneOf(`d${r.dom}v${r.vcpu} in Xen`, 'xen').finish(ns);
      return;
    }
    const decoded = decodeRecord(event, r.words.subarray(r.data, r.data + r.extra), trace.context);
    switch (decoded.kind) {
      case 'runstate_change': {
        if (decoded.dom === IDLE_DOMAIN) return;
        const vcpu = `d${decoded.dom}v${decoded.vcpu}`;
        const lane = laneOf(vcpu, 'runstate');
        lane.finish(ns);
        begin(lane, ns, decoded.to, r.offset);
        if (decoded.to === 'running') {
          running.get(vcpu)?.finish(ns);
          const pcpu = laneOf(`pCPU ${r.pid}`, 'pcpu');
          pcpu.finish(ns);
          begin(pcpu, ns, vcpu, r.offset);
          running.set(vcpu, pcpu);
        } else {
          running.get(vcpu)?.finish(ns);
          running.delete(vcpu);
        }
        return;
      }
      case 'vmexit': {
        if (r.dom < 0) return;
        const lane = laneOf(`d${r.dom}v${r.vcpu} in Xen`, 'xen');
        lane.finish(ns);
        begin(lane, ns, decoded.reasonName ?? `reason ${decoded.reason}`, r.offset);
        return;
      }
      case 'inj_virq':
        if (r.dom >= 0)
          begin(laneOf(`d${r.dom}v${r.vcpu} interrupts`, 'interrupt'), ns, `vector 0x${decoded.vector.toString(16)}`, r.offset);
        return;
      case 'lost_records': {
        const lane = laneOf('lost records', 'lost');
        begin(lane, trace.scale.ns(decoded.firstLostTsc - trace.firstTsc), `${decoded.count} records lost`, r.offset);
        lane.finish(ns);
        return;
      }
      default:
    }
  });
  for (const lane of lanes.values()) if (lane.kind !== 'interrupt' && lane.kind !== 'lost') lane.finish(endNs);
  return {
    lanes: sortLanes([...lanes.values()].map((lane) => lane.lane())),
    endNs,
    originNs: trace.scale.ns(trace.firstTsc),
    records,
    cut: spans >= MOST_SPANS,
  };
}

const KINDS: readonly Lane['kind'][] = ['pcpu', 'runstate', 'xen', 'access', 'interrupt', 'lost'];
/** pCPUs first, then each vCPU with what belongs to it, lost records last. */
function sortLanes(lanes: readonly Lane[]): Lane[] {
  const order = ({ name, kind }: Lane): string =>
    `${kind === 'pcpu' ? 0 : kind === 'lost' ? 2 : 1} ${name.replace(/^pCPU /, '').split(' ')[0]} ${KINDS.indexOf(kind)}`;
  return [...lanes].sort((a, b) => order(a).localeCompare(order(b), 'en', { numeric: true }));
}

/** The timeline with a lane for the driver's register accesses of each vCPU, which an analysis of the same trace gives. */
export function withAccesses(told: Timeline, analysis: Analysis): Timeline {
  const timeline = rescaled(told, analysis);
  const lanes = new Map<string, GrowingLane>();
  let spans = 0;
  for (const path of analysis.guests.flatMap((guest) => [...ioPaths(guest)])) {
    const { dom, vcpu, marks, record } = path.access;
    if (marks.exit === undefined || marks.entry === undefined || record.ref.unit !== 'offset' || spans++ > MOST_SPANS) continue;
    const name = `d${dom}v${vcpu} I/O`;
    let lane = lanes.get(name);
    if (lane === undefined) lanes.set(name, (lane = new GrowingLane(name, 'access')));
    const register = registerNames(path) ?? `0x${path.access.addr.toString(16)}`;
    lane.begin(marks.exit.timeNs, `${path.access.dir} ${register}`, record.ref.at);
    lane.finish(marks.entry.timeNs);
  }
  return { ...timeline, lanes: sortLanes([...timeline.lanes, ...[...lanes.values()].map((lane) => lane.lane())]) };
}

/** By the TSC rate that the analysis found, where the trace's own was a guess. */
function rescaled(timeline: Timeline, { tscRate }: Analysis): Timeline {
  if (tscRate?.insteadOf === undefined) return timeline;
  const factor = tscRate.insteadOf / tscRate.hz;
  const scale = (times: Float64Array): Float64Array => times.map((ns) => ns * factor);
  return {
    ...timeline,
    endNs: timeline.endNs * factor,
    originNs: timeline.originNs * factor,
    lanes: timeline.lanes.map((lane) => ({ ...lane, start: scale(lane.start), end: scale(lane.end) })),
  };
}
