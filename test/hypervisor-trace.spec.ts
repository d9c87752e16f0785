/** The hypervisor's trace, read by Debian's own analyser (package xen-utils-common). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TRC_ALL } from '../src/trace/events.ts';
import { lackOf } from './needs.ts';
import { bindVirq, setParam, shutdown, TestMachine } from '../src/hypervisor/testing/machine.ts';

const lack = await lackOf('xenalyze');

const run = (file: Uint8Array, ...options: string[]): { stdout: string; stderr: string; status: number | null } => {
  const path = join(mkdtempSync(join(tmpdir(), 'xenolith-')), 'trace.bin');
  writeFileSync(path, file);
  return spawnSync('xenalyze', ['--cpu-hz=1G', ...options, path], { encoding: 'utf8', maxBuffer: 1 << 28 });
};

/** A guest that does a little of everything. */
function makeTrace(): Uint8Array {
  const machine = new TestMachine({ memory: { tracePages: 4 } });
  machine.control.eventMask = TRC_ALL;
  const end = machine.run(function* (v) {
    yield* v.cpuid(0x40000000);
    yield* v.rdmsr(0x1a0);
    yield* v.wrmsr(0x10, 5n);
    yield* v.movToCr(0, 0x80010033);
    yield* v.movToCr(8, 3);
    yield* v.out(0xcf8, 4, 0x80001810);
    yield* v.in(0xcfc, 4);
    v.onInterrupt = (vector) => {
      if (vector === 0xf3) machine.clearGuestEvents();
    };
    for (let i = 0; i < 200; i++) {
      yield* v.read(0xf000003c, 4);
      yield* v.write(0xf0000038, 4, i);
      yield* v.write(0xa0000, 1, i);
      yield* v.string({ kind: 'movs', size: 4, count: 4, source: 0xf0000000, destination: 0x2000 });
      yield* v.spin(3);
    }
    // A one-shot timer's event, delivered as vector 0xf3, ends a HLT.
    yield* bindVirq(v, 0, 0);
    yield* setParam(v, 0, 0xf3, 2 << 24);
    for (let i = 0; i < 20; i++) {
      yield* v.hypercall(15, Math.floor(machine.clock.nowNs()) + 50_000);
      yield* v.hlt();
      if (i % 2) machine.controllers.requested.push(0xec);
      yield* v.spin(1);
    }
    machine.hypercalls.setIsaIrqLevel(4, 1);
    yield* shutdown(v);
  });
  expect([end, machine.engine.delivered.length]).toEqual(['shutdown', 30]);
  return machine.traceFile();
}

describe.skipIf(lack.skip)(lack.title('xenalyze'), () => {
  it('summarises a run without a warning', () => {
    const { stderr, status } = run(makeTrace(), '--summary');
    expect(status).toBe(0);
    const expected =
      /^Using VMX|^init_pcpus: through first trace write|^scan_for_new_pcpu: Activating|Creating|^Unknown hvm event|deactivat|LOST|Strange, exit 1e\(IO_INSTRUCTION\) missing a handler/;
    const unexpected = stderr.split('\n').filter((line) => line !== '' && !expected.test(line));
    expect(unexpected).toEqual([]);
  });

  it('dumps it without complaint, and with the records of a doorbell in VMX order', () => {
    const { stdout, status } = run(makeTrace(), '--dump-all');
    expect(status).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.filter((line) => /skew|Not updating|returned -|WARNING|unexpected exit/.test(line))).toEqual([]);
    const strange = lines.filter((line) => /missing a handler/.test(line));
    expect(new Set(strange).size).toBe(strange.length);
    const write = lines.findIndex((line) => /mmio_assist w gpa f0000038 data 7$/.test(line));
    const at = (from: number, what: RegExp): number => {
      const found = lines.findIndex((line, i) => i > from && what.test(line));
      return found < 0 ? Infinity : found;
    };
    let exit = write;
    while (exit > 0 && !/vmexit exit_reason EPT_VIOLATION/.test(lines[exit]!)) exit--;
    expect(write - exit).toBe(2);
    expect(lines[exit + 1]).toMatch(/npf gpa f0000038 q .* mfn ffffffffffffffff t 4/);
    const offline = at(write, /runstate_change d1v0 running->offline/);
    const wake = at(offline, /vcpu_wake d1v0/);
    const runnable = at(wake, /runstate_change d1v0 offline->runnable/);
    const running = at(runnable, /runstate_change d1v0 runnable->running/);
    const entry = at(running, /d1v0 vmentry/);
    expect([offline, wake, runnable, running, entry].every(Number.isFinite)).toBe(true);
    expect(entry - write).toBeLessThan(40);
    const between = lines.slice(write, entry).join('\n');
    expect(between).toMatch(/vcpu_wake d0v0[\s\S]*d0v0 runnable->running/);
    expect(between).not.toMatch(/vmexit/);
    expect(lines.filter((line) => /First schedule/.test(line))).toEqual([]);
    expect(lines.filter((line) => /inj_virq/.test(line)).length).toBe(30);
    expect(lines.filter((line) => /d1v0 running->blocked/.test(line)).length).toBe(20);
    // A read is recorded when its answer is there: after the wait.
    const read = lines.findIndex((line) => /assist.* f000003c.*44444444/.test(line));
    expect(lines[read - 1]).toMatch(/d1v0 runnable->running/);
  });
});
