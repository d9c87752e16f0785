import { describe, expect, it } from 'vitest';
import {
  RUNSTATE_BLOCKED,
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  runstateChangeEvent,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_SVM_EXIT64,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT64,
} from '../events.ts';
import { openTrace } from './reader.ts';
import type { TraceRecord } from './reader.ts';
import { NO_TSC, TraceFileWriter } from '../writer.ts';
import { lackOf } from '../../../test/needs.ts';
import { captureFile, CAPTURES } from '../testing/fixtures.ts';

function file(cpus: number, write: (writer: TraceFileWriter) => void, windowBytes?: number): Uint8Array<ArrayBuffer> {
  const parts: number[] = [];
  const writer = new TraceFileWriter((bytes) => void parts.push(...bytes), cpus, windowBytes);
  write(writer);
  writer.flush();
  return new Uint8Array(parts);
}
async function all(input: Uint8Array<ArrayBuffer> | Blob): Promise<TraceRecord[]> {
  const records: TraceRecord[] = [];
  for await (const record of await openTrace(input, { cpuHz: 1_000_000_000 })) records.push(record);
  return records;
}
const d1v0 = 1 << 16;

const doorbell = file(2, (w) => {
  w.record(1, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 1000, 1, d1v0);
  w.record(0, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 1500, 1, 0);
  w.record(1, TRC_HVM_VMEXIT64, 2000, 3, 48, 0xa01624ae, 0xffffffff);
  w.record(1, TRC_HVM_NPF, NO_TSC, 6, 0xf2051020, 0, -1, -1, 0x182, 4);
  w.record(1, TRC_HVM_IOMEM_WRITE, NO_TSC, 2, 0xf2051020, 0xd4e6c400);
  w.record(1, runstateChangeEvent(RUNSTATE_RUNNING, RUNSTATE_BLOCKED), 3000, 1, d1v0);
  w.record(0, 0x82010, 3500);
  w.record(1, TRC_HVM_VMENTRY, 9000);
});

describe('openTrace', () => {
  it('merges CPUs by TSC; a record without TSC follows the one before it on its CPU and says so', async () => {
    const records = await all(doorbell);
    expect(records.map((r) => [r.cpu, r.ns, r.tscInherited])).toEqual([
      [1, 0, false],
      [0, 500, false],
      [1, 1000, false],
      [1, 1000, true],
      [1, 1000, true],
      [1, 2000, false],
      [0, 2500, false],
      [1, 8000, false],
    ]);
  });

  it('names who runs on the pCPU, and nobody once it was descheduled', async () => {
    const records = await all(doorbell);
    expect(records.map((r) => (r.dom === null ? null : `d${r.dom}v${r.vcpu}`))).toEqual([
      null,
      null,
      'd1v0',
      'd1v0',
      'd1v0',
      'd1v0',
      'd0v0',
      null,
    ]);
  });

  it('decodes the exit, the fault and the write, with the vendor inferred and its evidence shown', async () => {
    const trace = await openTrace(doorbell);
    expect(trace.vendor).toBe('vmx');
    expect(trace.inference.evidence).toContainEqual({
      offset: 40 + 12 + 16,
      says: 'exit reason 48: a VMX exit that SVM could not have',
    });
    const records = await all(doorbell);
    expect(records[2]!.decoded).toEqual({
      kind: 'vmexit',
      class: 'hvm',
      nested: false,
      vendor: 'vmx',
      reason: 48,
      reasonName: 'EPT_VIOLATION',
      rip: 0xffffffffa01624aen,
    });
    expect(records[3]!.decoded).toEqual({ kind: 'npf', class: 'hvm', gpa: 0xf2051020, mfn: -1, qualification: 0x182, p2mt: 4 });
    expect(records[4]!.decoded).toEqual({ kind: 'mmio', class: 'hvm', write: true, gpa: 0xf2051020, data: 0xd4e6c400n });
  });

  it('gives file offsets of header words', async () => {
    const records = await all(doorbell);
    const view = new DataView(doorbell.buffer);
    for (const record of records) expect(view.getUint32(record.offset, true) & 0x0fffffff).toBe(record.event);
  });

  it('reads a Blob as it reads bytes', async () => {
    expect(await all(new Blob([doorbell]))).toEqual(await all(doorbell));
  });

  it('4.19 has an exit of its own for SVM', async () => {
    const trace = await openTrace(
      file(1, (w) => {
        w.record(0, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 10, 1, d1v0);
        w.record(0, TRC_HVM_SVM_EXIT64, 20, 3, 0x400, 1, 0);
      }),
    );
    expect(trace.inference).toMatchObject({ vendor: 'svm', xenFrom: '4.19', xenTo: '4.22', ambiguous: false });
  });

  it('keeps TSCs exact where they go past 2^53', async () => {
    const words = new Uint32Array([0x2001f003, 0, 24, 0x80081001, 0xfffffffe, 0x00200001, 0x80081001, 0x00000001, 0x00200002]);
    const trace = await openTrace(new Uint8Array(words.buffer), { cpuHz: 1_000_000_000 });
    const records: TraceRecord[] = [];
    for await (const record of trace) records.push(record);
    expect(trace.tscBase + BigInt(records[0]!.tsc)).toBe(0x00200001fffffffen);
    expect(records.map((r) => r.ns)).toEqual([0, 3]);
  });

  it('a lost-records record comes at the first lost record’s time and tells who runs after the loss', async () => {
    const records = await all(
      file(2, (w) => {
        w.record(0, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 100, 1, d1v0);
        w.lost(0, 900, 7, 2, 3, 200);
        w.record(1, 0x82010, 500);
        w.record(0, 0x82010, 1000);
      }),
    );
    expect(records.map((r) => [r.cpu, r.decoded.kind, r.dom, r.vcpu])).toEqual([
      [0, 'runstate_change', null, null],
      [0, 'lost_records', 1, 0],
      [1, 'event', null, null],
      [0, 'event', 2, 3],
    ]);
    expect(records[1]!.decoded).toMatchObject({ count: 7, dom: 2, vcpu: 3, firstLostTsc: 200 });
  });
});

describe('a damaged file', () => {
  it('what lies before and after the damage is delivered, and the damage is named with its offset', async () => {
    const bytes = file(
      2,
      (w) => {
        for (let i = 0; i < 100; i++) w.record(i & 1, 0x82010, 1000 + i);
      },
      240,
    );
    const whole = await all(bytes);
    const broken = bytes.slice();
    broken.fill(0xff, 12, 24); // the first record claims 40 bytes and an impossible class
    const trace = await openTrace(broken);
    let count = 0;
    for await (const record of trace) count += record.offset > 64 ? 1 : 0;
    expect(count).toBeGreaterThan(whole.length - 10);

    const cut = await openTrace(bytes.subarray(0, bytes.length - 100));
    count = 0;
    for await (const record of cut) count += record.event === 0x82010 ? 1 : 0;
    expect(count).toBe(whole.length - 9);
    expect(cut.damage.length).toBeGreaterThan(0);
    expect(cut.damage[0]!.end).toBe(bytes.length - 100);
  });

  it('no trace at all gives no record and one damage that spans the file', async () => {
    const trace = await openTrace(new Uint8Array(1000).fill(0x20));
    for await (const record of trace) expect(record).toBeNull();
    expect(trace.damage).toEqual([
      { offset: 0, end: 1000, cpu: null, message: 'no CPU change record where a window should begin' },
    ]);
  });
});

const captures = await lackOf('captures');
describe.skipIf(captures.skip)(captures.title('captures of a real Xen'), () => {
  it.each(CAPTURES)('%s: every record is known, and the vendor and version are those of the host', async (capture) => {
    const trace = await openTrace(captureFile(capture, 'trace.bin'));
    expect(trace.vendor).toBe('svm');
    expect(trace.inference.xenFrom).toBe('4.10');
    expect(trace.inference.xenTo).toBe('4.18');
    let records = 0;
    for await (const record of trace) {
      records++;
      if (record.decoded.kind === 'unknown') throw new Error(`unknown record ${record.event.toString(16)} at ${record.offset}`);
    }
    expect(trace.damage).toEqual([]);
    expect(records).toBe({ 'rtl8139-8139cp-ping': 246997, 'rtl8139-8139too-ping': 249445, 'lost-records': 157744 }[capture]);
  });
});
