import { describe, expect, it } from 'vitest';
import { memorySource } from '../format/source.ts';
import type { Transitions } from '../follow/transitions.ts';
import { summarizeTrace } from '../summary/summary.ts';
import type { TraceSummary } from '../summary/summary.ts';
import { generateTrace } from '../testing/generator.ts';
import { followTransitions } from './transitions.ts';

/** Counts what happens, by the keys that a summary has figures under. */
class Counter implements Transitions {
  readonly counts = new Map<string, { events: number; cycles: number }>();

  private add(key: string, cycles: number): void {
    const c = this.counts.get(key) ?? { events: 0, cycles: 0 };
    this.counts.set(key, { events: c.events + 1, cycles: c.cycles + cycles });
  }

  exit(_p: number, dom: number, vcpu: number, reason: number, _l: number, _h: number, start: number, end: number): void {
    this.add(`exit d${dom}v${vcpu} ${Math.min(reason, 4096)}`, end - start);
  }
  runstate(_p: number, dom: number, vcpu: number, state: number, cause: number, _n: number, start: number, end: number): void {
    this.add(`runstate d${dom}v${vcpu} ${state}`, end - start);
    if (state === 1) this.add(`runnable d${dom}v${vcpu} ${cause}`, end - start);
  }
  injected(_p: number, dom: number, vcpu: number, vector: number): void {
    this.add(`injected d${dom}v${vcpu} ${vector < 350 ? vector : null}`, 0);
  }
  hypercall(_p: number, dom: number, vcpu: number, number: number, _c: number, _n: number, _at: number, ticks: number): void {
    if (ticks < 0 && number < 56) this.add(`hypercall d${dom}v${vcpu} ${number}`, 0);
  }
  io(
    _p: number,
    dom: number,
    vcpu: number,
    port: boolean,
    write: boolean,
    low: number,
    _h: number,
    _d: number,
    start: number,
    end: number,
  ): void {
    if (port) this.add(`port d${dom}v${vcpu} ${low >>> 0} ${write}`, end - start);
    else this.add(`mmio d${dom}v${vcpu}`, end - start);
  }
  lost(pcpu: number, _n: number, start: number, end: number): void {
    this.add(`lost ${pcpu}`, end - start);
  }
}

function counted(summary: TraceSummary): Map<string, { events: number; cycles: number }> {
  const counts = new Map<string, { events: number; cycles: number }>();
  const set = (key: string, f: { events: number; cycles: number } | null): void => {
    if (f !== null && f.events > 0) counts.set(key, { events: f.events, cycles: f.cycles });
  };
  for (const p of summary.pcpus) set(`lost ${p.id}`, p.lost);
  const states = ['running', 'runnable', 'blocked', 'offline', 'lost', 'queued', 'init'];
  const causes = ['invalid', 'wake', 'preempt', 'other'];
  for (const d of summary.domains)
    for (const v of d.vcpus) {
      const who = `d${d.id}v${v.id}`;
      for (const r of v.runstates) set(`runstate ${who} ${states.indexOf(r.name)}`, r);
      for (const r of v.runnable) set(`runnable ${who} ${causes.indexOf(r.name)}`, r);
      for (const e of v.hvm?.exits ?? []) set(`exit ${who} ${e.reason}`, e);
      for (const i of v.hvm?.guestInterrupts ?? []) set(`injected ${who} ${i.vector}`, { events: i.count, cycles: 0 });
      for (const p of v.hvm?.pio ?? []) {
        set(`port ${who} ${p.address} false`, p.read);
        set(`port ${who} ${p.address} true`, p.write);
      }
      const all = (v.hvm?.mmio ?? []).reduce((a, m) => ({ events: a.events + m.events, cycles: a.cycles + m.cycles }), {
        events: 0,
        cycles: 0,
      });
      set(`mmio ${who}`, all);
      for (const h of v.pv?.hypercalls ?? []) set(`hypercall ${who} ${h.number}`, { events: h.count, cycles: 0 });
    }
  return counts;
}

const sorted = (counts: Map<string, { events: number; cycles: number }>): [string, { events: number; cycles: number }][] =>
  [...counts].sort(([a], [b]) => (a < b ? -1 : 1));

describe('transitions', () => {
  it.each([
    ['plain', { seed: 5, cpus: 3, steps: 4000 }],
    ['losses', { seed: 6, cpus: 4, steps: 4000, losses: 0.004 }],
    ['skew', { seed: 7, cpus: 4, steps: 3000, skew: 4000 }],
    ['SVM', { seed: 9, cpus: 2, steps: 3000, svm: true }],
  ])('add up to the figures of the summary: %s', async (_, load) => {
    const source = memorySource(generateTrace(load));
    const svm = 'svm' in load;
    const counter = new Counter();
    const followed = await followTransitions(source, { cpuHz: 2.4e9, svm }, counter);
    const summary = await summarizeTrace(source, 2.4e9, svm);
    expect(followed.records).toBe(summary.records);
    expect(followed.ticks).toBe(summary.totalCycles);
    expect(counter.counts.size).toBeGreaterThan(20);
    expect(sorted(counter.counts)).toEqual(sorted(counted(summary)));
  });
});
