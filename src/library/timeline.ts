/** A trace as lanes of spans, for a picture: who ran when, and why the guest left. */
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
  /** `d1v0`, `d1v0 in Xen`, `lost`. */
  readonly name: string;
  /** runstate: who runs. xen: between a VM exit and the next entry. interrupt: moments. lost: records that are missing. */
  readonly kind: 'runstate' | 'xen' | 'interrupt' | 'lost';
  readonly start: Float64Array;
  readonly end: Float64Array;
  /** Index into `labels`. */
  readonly label: Uint16Array;
  /** File offset of the record that begins the span. */
  readonly offset: Float64Array;
  /** Runstates, exit reasons or vectors. */
  readonly labels: readonly string[];
}

export interface Timeline {
  readonly lanes: readonly Lane[];
  /** Nanoseconds of trace time at the end. */
  readonly endNs: number;
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
        const lane = laneOf(`d${decoded.dom}v${decoded.vcpu}`, 'runstate');
        lane.finish(ns);
        begin(lane, ns, decoded.to, r.offset);
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
  for (const lane of lanes.values()) if (lane.kind === 'runstate' || lane.kind === 'xen') lane.finish(endNs);
  const order = (lane: GrowingLane): string =>
    `${lane.name.split(' ')[0]} ${['runstate', 'xen', 'interrupt', 'lost'].indexOf(lane.kind)}`;
  return {
    lanes: [...lanes.values()]
      .sort((a, b) => order(a).localeCompare(order(b), 'en', { numeric: true }))
      .map((lane) => lane.lane()),
    endNs,
    records,
    cut: spans >= MOST_SPANS,
  };
}
