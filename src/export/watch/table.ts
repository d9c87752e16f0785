import { exitReasonName } from '../../trace/index.ts';
import type { Transitions } from '../../trace/index.ts';
import { Histogram } from '../report/histogram.ts';
import type { EventKind, EventValues, Trigger } from './trigger.ts';

/** What is watched of a live stream: a condition on events, and figures of the last interval for a table as `top` has one. */

const IDLE_DOMAIN = 32767;
const ROWS_MAX = 40;
const REASONS_MAX = 256;

class VcpuFigures {
  running = 0;
  runnable = 0;
  exits = 0;
  injections = 0;
  hypercalls = 0;
  readonly reasons = new Map<number, number>();
  io = new Histogram();
  wake = new Histogram();

  clear(): void {
    this.running = this.runnable = this.exits = this.injections = this.hypercalls = 0;
    this.reasons.clear();
    this.io = new Histogram();
    this.wake = new Histogram();
  }

  get idle(): boolean {
    return this.running === 0 && this.runnable === 0 && this.exits === 0 && this.hypercalls === 0;
  }
}

export class Watcher implements Transitions {
  private readonly ns: (ticks: number) => number;
  private readonly trigger: Trigger | undefined;
  private readonly hit: (atNs: number, what: string) => void;
  private readonly vcpus = new Map<string, VcpuFigures>();
  private readonly values: Record<string, number> = {};
  private lostRecords = 0;

  /** @param hit called for every event for which the trigger holds */
  constructor(ns: (ticks: number) => number, trigger: Trigger | undefined, hit: (atNs: number, what: string) => void) {
    this.ns = ns;
    this.trigger = trigger;
    this.hit = hit;
  }

  private figures(dom: number, vcpu: number): VcpuFigures {
    const key = `d${dom}v${vcpu}`;
    let f = this.vcpus.get(key);
    if (f === undefined) this.vcpus.set(key, (f = new VcpuFigures()));
    return f;
  }

  /** @param what a sentence on the event, where the condition holds */
  private check(kind: EventKind, values: EventValues, at: number, what: () => string): void {
    if (this.trigger?.kind === kind && this.trigger.holds(values)) this.hit(this.ns(at), what());
  }

  private set(latency: number, dom: number, vcpu: number, pcpu: number): Record<string, number> {
    const { values } = this;
    values['latency'] = latency;
    values['domid'] = dom;
    values['vcpu'] = vcpu;
    values['pcpu'] = pcpu;
    return values;
  }

  exit(pcpu: number, dom: number, vcpu: number, reason: number, _low: number, _high: number, start: number, end: number): void {
    const f = this.figures(dom, vcpu);
    f.exits++;
    if (f.reasons.size < REASONS_MAX || f.reasons.has(reason)) f.reasons.set(reason, (f.reasons.get(reason) ?? 0) + 1);
    if (this.trigger?.kind !== 'exit') return;
    const latency = this.ns(end - start);
    const values = this.set(latency, dom, vcpu, pcpu);
    values['reason'] = reason;
    this.check('exit', values, end, () => `d${dom}v${vcpu} was out of the guest for ${latency / 1000} µs, exit reason ${reason}`);
  }

  runstate(pcpu: number, dom: number, vcpu: number, state: number, cause: number, _n: number, start: number, end: number): void {
    if (dom >= IDLE_DOMAIN) return;
    const f = this.figures(dom, vcpu);
    const lasted = this.ns(end - start);
    if (state === 0) f.running += lasted;
    if (state !== 1) return;
    f.runnable += lasted;
    if (cause !== 1) return;
    f.wake.add(lasted);
    this.check(
      'wake',
      this.set(lasted, dom, vcpu, pcpu),
      end,
      () => `d${dom}v${vcpu} was woken, and waited ${lasted / 1000} µs for pCPU ${pcpu}`,
    );
  }

  injected(pcpu: number, dom: number, vcpu: number, vector: number, _fake: boolean, at: number, sinceWake: number): void {
    this.figures(dom, vcpu).injections++;
    if (sinceWake < 0 || this.trigger?.kind !== 'interrupt') return;
    const latency = this.ns(sinceWake);
    const values = this.set(latency, dom, vcpu, pcpu);
    values['vector'] = vector;
    this.check('interrupt', values, at, () => `vector ${vector} came to d${dom}v${vcpu} ${latency / 1000} µs after it was woken`);
  }

  hypercall(_pcpu: number, dom: number, vcpu: number): void {
    this.figures(dom, vcpu).hypercalls++;
  }

  io(
    pcpu: number,
    dom: number,
    vcpu: number,
    port: boolean,
    write: boolean,
    low: number,
    high: number,
    _data: number,
    start: number,
    end: number,
  ): void {
    const latency = this.ns(end - start);
    this.figures(dom, vcpu).io.add(latency);
    if (this.trigger?.kind !== 'io') return;
    const address = (high >>> 0) * 0x100000000 + (low >>> 0);
    const values = this.set(latency, dom, vcpu, pcpu);
    values['address'] = address;
    values['write'] = write ? 1 : 0;
    values['port'] = port ? 1 : 0;
    this.check(
      'io',
      values,
      end,
      () =>
        `a ${write ? 'write' : 'read'} of d${dom}v${vcpu} at ${port ? 'port' : 'gpa'} 0x${address.toString(16)} took ${latency / 1000} µs`,
    );
  }

  lost(pcpu: number, count: number, start: number, end: number): void {
    this.lostRecords += count;
    if (this.trigger?.kind !== 'lost') return;
    const values = this.set(this.ns(end - start), -1, -1, pcpu);
    values['records'] = count;
    this.check('lost', values, end, () => `pCPU ${pcpu} lost ${count} records`);
  }

  /**
   * Figures since the last call, busiest vCPU first, as lines of at most 100 columns.
   * @param vendor whose exit reasons they are
   */
  table(nowNs: number, lastedNs: number, vendor: 'svm' | 'vmx'): string[] {
    const seconds = Math.max(1e-9, lastedNs / 1e9);
    const rate = (n: number): string => (n / seconds).toFixed(0);
    const share = (ns: number): string => ((100 * ns) / Math.max(1, lastedNs)).toFixed(1);
    const us = (h: Histogram, q: number): string => (h.total === 0 ? '-' : (h.quantile(q) / 1000).toFixed(0));
    const lost = this.lostRecords > 0 ? `, ${this.lostRecords} records lost` : '';
    const lines = [
      `trace time ${(nowNs / 1e9).toFixed(3)} s, figures of the last ${seconds.toFixed(3)} s${lost}`,
      'vCPU        run%  wait%   exits/s  most often            accesses/s  p99 µs  wake p99 µs  irq/s hcall/s',
    ];
    const busy = [...this.vcpus].filter(([, f]) => !f.idle).sort(([, a], [, b]) => b.running + b.exits - (a.running + a.exits));
    for (const [who, f] of busy.slice(0, ROWS_MAX)) {
      const top = [...f.reasons].sort((a, b) => b[1] - a[1])[0];
      const reason = top === undefined ? '-' : (exitReasonName(vendor, top[0]) ?? String(top[0]));
      lines.push(
        `${who.padEnd(9)} ${share(f.running).padStart(6)} ${share(f.runnable).padStart(6)} ${rate(f.exits).padStart(9)}  ${reason.slice(0, 20).padEnd(20)} ${rate(f.io.total).padStart(11)} ${us(f.io, 0.99).padStart(7)} ${us(f.wake, 0.99).padStart(12)} ${rate(f.injections).padStart(6)} ${rate(f.hypercalls).padStart(7)}`,
      );
    }
    if (busy.length > ROWS_MAX) lines.push(`… and ${busy.length - ROWS_MAX} more vCPUs`);
    for (const [who, f] of this.vcpus) {
      // A domain that is gone leaves nothing behind.
      if (f.idle) this.vcpus.delete(who);
      else f.clear();
    }
    this.lostRecords = 0;
    return lines;
  }
}
