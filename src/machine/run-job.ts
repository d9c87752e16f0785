/** Runs a job, or one half of it, to its end on the calling thread, telling what happens through `post`. */
import { UserError } from '../base/errors.ts';
import { engineFactory } from './engine-factory.ts';
import { runOutcome } from './exit-status.ts';
import type { LoopEnd } from '../hypervisor/schedule.ts';
import type { MachineOptions, MachineSinks } from './guest-side.ts';
import type { JobMessage, JobResult, MachineJob, SplitJob } from './job.ts';
import { kernelRanges } from './linear-map.ts';
import { InlineMachine } from './machine.ts';
import { runDeviceModelThread, runGuestThread } from './split-machine.ts';

const EFER_LMA = 0x400;

type Post = (message: JobMessage) => void;

export function runJob(job: MachineJob, post: Post): void {
  guarded(post, () => {
    const machine = new InlineMachine(optionsOf(job), sinksOf(job, post));
    post({ kind: 'started' });
    const end = machine.run(job.untilNs);
    const { hits, remaps } = machine.deviceModel.mapCache.counters;
    post({ kind: 'end', result: resultOf(end, machine, { hits, remaps }) });
  });
}

/** One half of a machine on two threads. The guest's half tells the end; the device model's its map cache. */
export function runSplitJob({ half, split, job }: SplitJob, post: Post): void {
  guarded(post, () => {
    if (half === 'deviceModel') {
      const { trace: _ofTheGuest, ...sinks } = sinksOf(job, post);
      post({ kind: 'mapCache', counters: runDeviceModelThread(split, optionsOf(job), sinks, (futex) => post({ kind: 'serving', futex })) });
      return;
    }
    const { log: _ofTheDeviceModel, pcap: _too, ...sinks } = sinksOf(job, post);
    const { end, guest } = runGuestThread(split, optionsOf(job), sinks, job.untilNs, () => post({ kind: 'started' }));
    post({ kind: 'end', result: resultOf(end, { ...guest, memory: guest.pcpu.memory, clock: guest.pcpu.clock }, { hits: 0, remaps: 0 }) });
  });
}

function guarded(post: Post, work: () => void): void {
  try {
    work();
  } catch (error) {
    const { message, stack } = error as Error;
    post({ kind: 'failed', message, isUser: error instanceof UserError, stack: stack ?? message });
  }
}

const optionsOf = (job: MachineJob): MachineOptions => ({
  name: job.name, domain: job.domain, nics: job.nics, clock: job.clock, seed: job.seed, engine: engineFactory(),
  ...(job.traceMask === undefined ? {} : { traceMask: job.traceMask }),
  ...(job.logForm === undefined ? {} : { logForm: job.logForm }),
  ...(job.consoleInput === undefined ? {} : { consoleInput: job.consoleInput }),
});

/** Sinks are handed the machine's own buffers: what crosses a thread is a copy. */
function sinksOf(job: MachineJob, post: Post): MachineSinks {
  const say = (level: 'debug' | 'info' | 'warn') => (text: string) => post({ kind: 'say', level, text });
  return {
    logger: { debug: say('debug'), info: say('info'), warn: say('warn') },
    console: (bytes) => post({ kind: 'console', bytes: bytes.slice() }),
    ...(job.traceMask === undefined ? {} : { trace: (bytes: Uint8Array) => post({ kind: 'trace', bytes: bytes.slice() }) }),
    ...(job.logForm === undefined ? {} : { log: (text: string) => post({ kind: 'log', text }) }),
    ...(job.capture ? { pcap: (bytes: Uint8Array) => post({ kind: 'pcap', bytes: bytes.slice() }) } : {}),
  };
}

/** The guest as it stands at the end of its run. */
type Ended = Pick<InlineMachine, 'domain' | 'hvm' | 'memory' | 'p2m' | 'clock'>;

const resultOf = (end: LoopEnd, machine: Ended, mapCache: JobResult['mapCache']): JobResult => ({
  outcome: runOutcome(end, machine.domain.shutdownReason), instructions: machine.hvm.engine.instructions, ns: machine.clock.nowNs(),
  mapCache, linear: linearAddresses(machine),
});

/** Linear addresses of the guest, kept where it ran in long mode: page tables of other modes are not read. */
function linearAddresses(machine: Ended): JobResult['linear'] {
  const { registers } = machine.hvm.engine;
  const mmio = [...machine.hvm.vmx.mmioLinear];
  if ((registers.efer & EFER_LMA) === 0) return { mmio, kernel: [] };
  const { u32 } = machine.memory;
  const read64 = (gpa: number): { low: number; high: number } => {
    const at = machine.p2m.ramAddress(gpa);
    return at < 0 ? { low: 0, high: -1 } : { low: u32[at >>> 2]!, high: u32[(at >>> 2) + 1]! };
  };
  return { mmio, kernel: kernelRanges(read64, Number(registers.cr3 & 0x000f_ffff_ffff_f000n)) };
}
