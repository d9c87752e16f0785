/**
 * Guest and device model on threads of their own: this thread runs the guest's pCPU, a Worker (built files in dist/) the
 * device model. The trace of both pCPUs must be without skew to the real analyser.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { gfn } from '../src/base/address.ts';
import { silentLogger } from '../src/base/logger.ts';
import { HostClock } from '../src/hypervisor/time/clock.ts';
import { HvmVcpu } from '../src/hypervisor/vmx/hvm.ts';
import { MachineMemory } from '../src/hypervisor/mm/memory.ts';
import { Shootdown } from '../src/hypervisor/mm/shootdown.ts';
import { createPlatform } from '../src/hypervisor/chips/platform.ts';
import { IoWait, PcpuLoop } from '../src/hypervisor/sched/schedule.ts';
import { Hypervisor } from '../src/hypervisor/setup/setup.ts';
import { FakeVcpu, type Guest } from '../src/hypervisor/testing/fake-vcpu.ts';
import { shutdown } from '../src/hypervisor/testing/machine.ts';
import { TraceCollector } from '../src/hypervisor/trace/trace.ts';
import { TRC_ALL } from '../src/trace/events.ts';
import { lackOf } from './needs.ts';
import { TraceWindowWriter } from '../src/trace/writer.ts';

const dist = join(import.meta.dirname, '../dist');
/** The Worker's code is the built one. */
const lack = await lackOf('built');
const xenalyze = await lackOf('xenalyze');

const BAR = 0xf000_0000;
const platform = { vcpus: 1, x2apic: true, tscDeadline: true, hpet: true };

/** The device model: answers reads with address + 1, raises INTx of device 4 on a write to BAR + 4, sleeps between. */
const deviceModel = `
const { workerData: d } = require('node:worker_threads');
import(d.url).then(({ attachDom0 }) => {
  const log = { debug() {}, info() {}, warn(m) { console.error(m); } };
  const guest = { domid: 1, name: 'test', vcpus: 1 };
  const dom0 = attachDom0({ memory: d.memory, layout: d.layout, guest, guestPcpu: 1, platform: d.platform, log });
  const { hypercalls: h } = dom0;
  const words = new Int32Array(d.memory.buffer);
  const bytes = new Uint8Array(d.memory.buffer);
  const u32 = new Uint32Array(d.memory.buffer);
  const id = h.createIoreqServer(2), info = h.getIoreqServerInfo(id);
  h.mapIoRange(id, 1, ${BAR}, ${BAR + 0xfff});
  const port = h.bindInterdomain(u32[info.ioreqPage / 4 + 6]);
  h.setIoreqServerState(id, true);
  Atomics.store(words, d.flag, 1); Atomics.notify(words, d.flag);
  const slot = info.ioreqPage / 4;
  for (;;) {
    const seen = Atomics.load(words, dom0.futex);
    bytes[h.sharedInfo] = 0; words[h.sharedInfo / 4 + 2] = 0; words.fill(0, h.sharedInfo / 4 + 512, h.sharedInfo / 4 + 640);
    const state = Atomics.load(words, slot + 7);
    if (((state >>> 16) & 15) === 1) {
      Atomics.store(words, slot + 7, state + 0x10000);
      if (u32[slot] === ${BAR} + 4) h.setPciIntxLevel(0, 0, 4, 0, u32[slot + 2] & 1);
      u32[slot + 2] = u32[slot] + 1;
      Atomics.store(words, slot + 7, state + 0x20000);
      h.evtchnSend(port);
      continue;
    }
    if (Atomics.load(words, d.flag) === 2) break;
    for (let i = 0; i < d.spins && Atomics.load(words, dom0.futex) === seen; i++);
    dom0.vcpu.sleep(seen, 1000);
  }
  dom0.vcpu.stop();
  Atomics.store(words, d.flag, 3); Atomics.notify(words, d.flag);
});
`;

describe.skipIf(lack.skip)(lack.title('guest and device model on threads of their own'), () => {
  interface Run {
    readonly end: string;
    readonly wrong: readonly number[];
    readonly delivered: readonly number[];
    readonly trace: Buffer;
  }
  const runs = new Map<number, Promise<Run>>();
  /** One run for all tests of these spins. */
  const runWith = (spins: number): Promise<Run> => {
    let run = runs.get(spins);
    if (run === undefined) runs.set(spins, (run = start(spins)));
    return run;
  };
  async function start(spins: number): Promise<Run> {
    const memory = MachineMemory.create({ frames: 1024, maxGfn: 0x100000, pcpus: 2, tracePages: 256 });
    const clock = new HostClock(memory);
    const hypervisor = new Hypervisor({
      memory,
      clock,
      pcpu: 1,
      log: silentLogger,
      seed: 3,
      guest: { domid: 1, name: 'test', vcpus: 1 },
      platform: (parts) => createPlatform(parts, platform),
    });
    const { pcpu, p2m, dom0, domain, runqueue, notifier, events, servers, handlers, timers, irq, control } = hypervisor;
    p2m.populate(gfn(0), 256);
    const engine = new FakeVcpu(memory, p2m);
    const shootdown = new Shootdown(memory, domain.vcpus[0]!, engine);
    p2m.changes.add((changed) => shootdown.invalidateNested(changed));
    const hvm = new HvmVcpu({
      pcpu,
      domain,
      id: 0,
      engine,
      p2m,
      events,
      notifier,
      servers,
      irq,
      controllers: hypervisor.platform.controllers,
      handlers,
      timers,
      shootdown,
      wait: new IoWait(pcpu, runqueue, domain),
    });
    control.eventMask = TRC_ALL;
    const flag = memory.xenheap('test flag', 4) >>> 2;
    const worker = new Worker(deviceModel, {
      eval: true,
      workerData: {
        url: pathToFileURL(join(dist, 'hypervisor/setup/dom0.js')).href,
        memory: memory.memory,
        layout: memory.layout,
        platform,
        flag,
        spins,
      },
    });
    const failed = new Promise<never>((_resolve, reject) => worker.on('error', reject));
    await Promise.race([failed, Atomics.waitAsync(memory.i32, flag, 0).value]);

    const wrong: number[] = [];
    engine.start(function* (v): Guest {
      // Virtual wire off, local APIC on; INTx of device 4 is GSI 32: level, vector 0x41.
      yield* v.write(0xfee000f0, 4, 0x1ff);
      yield* v.write(0xfec00000, 4, 0x10 + 32 * 2);
      yield* v.write(0xfec00010, 4, 0xa041);
      for (let i = 0; i < 300; i++) {
        const { lo } = yield* v.read(BAR + 8 + i * 4, 4);
        if (lo !== BAR + 9 + i * 4) wrong.push(lo);
        if (i % 50 === 0) {
          const before = v.delivered.length;
          yield* v.write(BAR + 4, 4, 1);
          while (v.delivered.length === before) yield* v.hlt();
          yield* v.write(BAR + 4, 4, 0);
          yield* v.write(0xfee000b0, 4, 0);
        }
      }
      yield* shutdown(v) as Guest;
    });
    const end = new PcpuLoop(pcpu, runqueue, timers, hvm).run();
    Atomics.store(memory.i32, flag, 2);
    dom0.vcpus[0]!.kick();
    await Promise.race([failed, Atomics.waitAsync(memory.i32, flag, 2).value]);
    await worker.terminate();

    const parts: Buffer[] = [];
    new TraceCollector(memory).drain(new TraceWindowWriter((bytes) => void parts.push(Buffer.from(bytes))));
    return { end, wrong, delivered: engine.delivered, trace: Buffer.concat(parts) };
  }

  it.each([0, 2000])('every access is answered, interrupts arrive (%i spins before a sleep)', async (spins) => {
    const { end, wrong, delivered } = await runWith(spins);
    expect(end).toBe('shutdown');
    expect([wrong, delivered]).toEqual([[], new Array(6).fill(0x41)]);
  });

  it.skipIf(xenalyze.skip).each([0, 2000])(xenalyze.title('the trace has no skew (%i spins before a sleep)'), async (spins) => {
    const path = join(mkdtempSync(join(tmpdir(), 'xenolith-')), 'trace.bin');
    writeFileSync(path, (await runWith(spins)).trace);
    const { stdout, status } = spawnSync('xenalyze', ['--cpu-hz=1G', '--dump-all', path], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    expect(status).toBe(0);
    expect(
      stdout.split('\n').filter((line) => /skew|Not updating|returned -|WARNING|unexpected exit|First schedule/.test(line)),
    ).toEqual([]);
    expect(stdout).toMatch(/d1v0 offline->runnable/);
    expect(stdout).toMatch(/-x.* d1v0 vmentry/);
  });
});
