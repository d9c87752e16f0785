import { describe, expect, it } from 'vitest';
import { dumpTrace } from './dump.ts';
import type { FollowOptions } from './dump.ts';
import {
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  runstateChangeEvent,
  schedClassEvent,
  TRC_HVM_EMUL_LAPIC_PIC_INTR,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_SVM_EXIT64,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT64,
  TRC_64_FLAG,
  TRC_SCHED_SWITCH_INFPREV,
} from '../events.ts';
import { blobSource, memorySource } from '../format/source.ts';
import { NO_TSC, TraceFileWriter } from '../writer.ts';

function file(write: (writer: TraceFileWriter) => void): Uint8Array<ArrayBuffer> {
  const parts: number[] = [];
  const writer = new TraceFileWriter((bytes) => void parts.push(...bytes), 1);
  writer.record(0, runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 1000, 1, 1 << 16);
  write(writer);
  writer.flush();
  return new Uint8Array(parts);
}
async function dump(bytes: Uint8Array<ArrayBuffer>, options: Partial<FollowOptions> = {}, blob = false): Promise<string[]> {
  let text = '';
  const source = blob ? blobSource(new Blob([bytes])) : memorySource(bytes);
  await dumpTrace(source, { cpuHz: 1_000_000_000, svm: false, exact: false, ...options }, (part) => {
    text += new TextDecoder().decode(part);
  });
  // Not the schedule that opens the trace, nor what is said of interrupts at its end.
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith(' [w2h]'))
    .slice(1);
}

describe('the default dump, where it knows more than xenalyze', () => {
  it('an exit and what belongs to it', async () => {
    const bytes = file((w) => {
      w.record(0, TRC_HVM_VMEXIT64, 2000, 3, 48, 0xa01624ae, 0xffffffff);
      w.record(0, TRC_HVM_NPF, NO_TSC, 6, 0xf2051020, 0, -1, -1, 0x182, 4);
      w.record(0, TRC_HVM_IOMEM_WRITE, NO_TSC, 2, 0xf2051020, 0xd4e6c400);
      w.record(0, TRC_HVM_VMENTRY, 5000);
    });
    const lines = [
      ']  0.000001000 x d1v0 vmexit exit_reason EPT_VIOLATION eip ffffffffa01624ae',
      '   0.000001000 x d1v0 npf gpa f2051020 q 182 mfn ffffffffffffffff t 4',
      ']  0.000001000 x d1v0 mmio_assist w gpa f2051020 data d4e6c400',
      ']  0.000004000 x d1v0 vmentry cycles 3000 ',
    ];
    expect(await dump(bytes)).toEqual(lines);
    expect(await dump(bytes, {}, true)).toEqual(lines);
  });

  it('emulated devices, exits of 4.19, late VMX reasons, wide MMIO', async () => {
    const bytes = file((w) => {
      w.record(0, TRC_HVM_EMUL_LAPIC_PIC_INTR, 1500, 2, 1, 0);
      w.record(0, TRC_HVM_SVM_EXIT64, 2000, 3, 0x400, 0x1000, 0);
      w.record(0, TRC_HVM_IOMEM_WRITE + TRC_64_FLAG, NO_TSC, 3, 0x10, 1, 0x40);
      w.record(0, TRC_HVM_VMENTRY, 3000);
    });
    expect(await dump(bytes, { svm: true })).toEqual([
      '   0.000000500 x d1v0 lapic_pic_intr i8259_target 1 accept_pic_intr 0',
      ']  0.000001000 x d1v0 vmexit exit_reason VMEXIT_NPF eip 1000',
      ']  0.000001000 x d1v0 mmio_assist w gpa 100000010 data 40',
      ']  0.000002000 x d1v0 vmentry cycles 1000 ',
    ]);
    expect((await dump(bytes, { svm: true, exact: true })).filter((l) => l.includes('Unknown'))).toEqual([
      'Unknown hvm event: 84011',
      'Unknown hvm event: 81103',
    ]);
    const late = file((w) => w.record(0, TRC_HVM_VMEXIT64, 2000, 3, 62, 0x1000, 0));
    expect(await dump(late)).toEqual([']  0.000001000 x d1v0 vmexit exit_reason PML_FULL eip 1000']);
  });

  it('scheduler records of old releases', async () => {
    const bytes = file((w) => {
      w.record(0, TRC_SCHED_SWITCH_INFPREV, 2000, 2, 7, 5000);
      w.record(0, schedClassEvent(1, 2), 3000, 2, 3 | (1 << 16), 9);
    });
    const lines = await dump(bytes, { xenMinor: 6 });
    expect(lines[0]).toContain('switch_infprev dom 7 runtime_ns 5000');
    expect(lines[1]).toContain('csched2:runq_pos vcpu 1 dom 3 position 9');
    expect((await dump(bytes, { xenMinor: 17 }))[1]).toContain('csched2:runq_insert d1v3, position 9');
  });

  it('RTDS budgets: four and five words up to Xen 4.9, six words with a priority level from 4.10 on', async () => {
    const bytes = file((w) => {
      w.record(0, schedClassEvent(4, 4), 2000, 5, 3 | (1 << 16), 7, 0, 9, 0);
      w.record(0, schedClassEvent(4, 4), 2100, 6, 3 | (1 << 16), 2, 7, 0, 9, 0);
      w.record(0, schedClassEvent(4, 3), 2200, 4, 3 | (1 << 16), 9, 0, -5);
      // Only the low byte of has_extratime is data; the rest is what the stack held.
      w.record(0, schedClassEvent(4, 3), 2300, 6, 3 | (1 << 16), 9, 0, -5, 2, 0x7fabcd00);
      w.record(0, schedClassEvent(4, 3), 2400, 6, 3 | (1 << 16), 9, 0, -5, 2, 1);
    });
    const text = (lines: string[]): string[] => lines.map((line) => line.slice(line.indexOf('rtds')));
    expect(text(await dump(bytes))).toEqual([
      'rtds:repl_budget d1v3, deadline = 7, budget = 9',
      'rtds:repl_budget d1v3, priority_level = 2, deadline = 7, budget = 9',
      'rtds:burn_budget d1v3, budget = 9, delta = -5',
      'rtds:burn_budget d1v3, budget = 9, delta = -5, priority_level = 2, no extratime',
      'rtds:burn_budget d1v3, budget = 9, delta = -5, priority_level = 2, has extratime',
    ]);
    expect(text(await dump(bytes, { exact: true }))).toContain(
      'rtds:repl_budget d1v3, deadline = 30064771074, budget = 38654705664',
    );
  });
});
