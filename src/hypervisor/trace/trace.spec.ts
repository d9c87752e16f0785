import { describe, expect, it } from 'vitest';
import type { Clock } from '../../base/clock.ts';
import {
  TRC_ALL,
  TRC_HVM,
  TRC_HVM_ENTRYEXIT,
  TRC_HVM_HLT,
  TRC_HVM_VMENTRY,
  TRC_LOST_RECORDS,
  TRC_SCHED_WAKE,
  TRC_TRACE_WRAP_BUFFER,
} from '../../trace/events.ts';
import { TraceWindowWriter } from '../../trace/writer.ts';
import { MachineMemory } from '../mm/memory.ts';
import { TraceBuffer, TraceCollector, TraceControl } from './trace.ts';

const make = () => {
  const memory = MachineMemory.create({ frames: 16, maxGfn: 16, tracePages: 1 });
  let tsc = 0;
  const clock: Clock = { kind: 'virtual', tscHz: 1e9, nowNs: () => tsc, tsc: () => ++tsc, epochUs: 0, charge() {} };
  const control = new TraceControl(memory);
  const ring = new TraceBuffer(memory, 1, clock);
  const collector = new TraceCollector(memory);
  const records = (): { event: number; tsc?: number; extra: number[]; cpu: number }[] => {
    const parts: Uint8Array[] = [];
    collector.drain(new TraceWindowWriter((bytes) => void parts.push(bytes.slice())));
    const words = new Uint32Array(new Uint8Array(parts.flatMap((p) => [...p])).buffer);
    const out = [];
    let cpu = -1;
    for (let i = 0; i < words.length; ) {
      const header = words[i++]!;
      const count = (header >>> 28) & 7;
      const event = header & 0x0fffffff;
      const time = header >>> 31 ? words[i]! + words[i + 1]! * 2 ** 32 : undefined;
      if (time !== undefined) i += 2;
      const extra = [...words.subarray(i, i + count)];
      i += count;
      if (event === 0x1f003) cpu = extra[0]!;
      else out.push(time === undefined ? { event, extra, cpu } : { event, tsc: time, extra, cpu });
    }
    return out;
  };
  return { memory, control, ring, records };
};

describe('trace ring', () => {
  it('takes records only while tracing is on and the mask lets them through', () => {
    const { control, ring, records } = make();
    ring.recordTsc(TRC_HVM_VMENTRY);
    expect(ring.on).toBe(false);
    control.eventMask = TRC_HVM;
    ring.recordTsc(TRC_HVM_VMENTRY);
    ring.recordTsc(TRC_SCHED_WAKE, 1, 5);
    control.eventMask = TRC_HVM_ENTRYEXIT;
    ring.record(TRC_HVM_HLT, 1, 0);
    ring.recordTsc(TRC_HVM_VMENTRY);
    expect(records()).toEqual([
      { event: TRC_HVM_VMENTRY, tsc: 1, extra: [], cpu: 1 },
      { event: TRC_HVM_VMENTRY, tsc: 2, extra: [], cpu: 1 },
    ]);
    expect(records()).toEqual([]);
  });

  it('lets no record straddle its end, over many rounds, and loses none that is drained in time', () => {
    const { control, ring, records } = make();
    control.eventMask = TRC_ALL;
    let next = 0;
    let wraps = 0;
    let seen = 0;
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 100; i++, next++) ring.record(TRC_HVM_HLT, 1 + (next % 7), next);
      for (const record of records()) {
        if (record.event === TRC_TRACE_WRAP_BUFFER) wraps++;
        else expect([record.event, record.extra[0], record.extra.length]).toEqual([TRC_HVM_HLT, seen, 1 + (seen++ % 7)]);
      }
    }
    expect(seen).toBe(4000);
    expect(wraps).toBeGreaterThan(10);
  });

  it("counts what finds no room and says so, with the first one's time, when there is room again", () => {
    const { control, ring, records } = make();
    control.eventMask = TRC_ALL;
    ring.setCurrent(1, 0);
    let full = 0;
    ring.highWater.add(() => full++);
    for (let i = 1; i <= 1000; i++) ring.recordTsc(TRC_HVM_VMENTRY);
    expect(full).toBe(1);
    const first = records();
    expect(first.length).toBe(Math.floor(4088 / 12));
    expect(first.at(-1)!.tsc).toBe(first.length);
    ring.recordTsc(TRC_HVM_VMENTRY);
    const [wrapOrLost, ...rest] = records().filter((r) => r.event !== TRC_TRACE_WRAP_BUFFER);
    expect(wrapOrLost!.event).toBe(TRC_LOST_RECORDS);
    expect(wrapOrLost!.extra.slice(0, 2)).toEqual([1000 - first.length, 1]);
    expect(wrapOrLost!.tsc!).toBeGreaterThan(wrapOrLost!.extra[2]!);
    expect(rest.length).toBe(1);
  });
});
