/** Runs a job to its end on the calling thread, telling what happens through `post`. */
import { UserError } from '../base/errors.ts';
import { engineFactory } from './engine-factory.ts';
import { runOutcome } from './exit-status.ts';
import type { JobMessage, JobResult, MachineJob } from './job.ts';
import { kernelRanges } from './linear-map.ts';
import { InlineMachine } from './machine.ts';

const EFER_LMA = 0x400;

export function runJob(job: MachineJob, post: (message: JobMessage) => void): void {
  try {
    const say = (level: 'debug' | 'info' | 'warn') => (text: string) => post({ kind: 'say', level, text });
    // Sinks are handed the machine's own buffers: what crosses a thread is a copy.
    const machine = new InlineMachine(
      {
        name: job.name, domain: job.domain, nics: job.nics, clock: job.clock, seed: job.seed, engine: engineFactory(),
        ...(job.traceMask === undefined ? {} : { traceMask: job.traceMask }),
        ...(job.logForm === undefined ? {} : { logForm: job.logForm }),
        ...(job.consoleInput === undefined ? {} : { consoleInput: job.consoleInput }),
      },
      {
        logger: { debug: say('debug'), info: say('info'), warn: say('warn') },
        console: (bytes) => post({ kind: 'console', bytes: bytes.slice() }),
        ...(job.traceMask === undefined ? {} : { trace: (bytes: Uint8Array) => post({ kind: 'trace', bytes: bytes.slice() }) }),
        ...(job.logForm === undefined ? {} : { log: (text: string) => post({ kind: 'log', text }) }),
        ...(job.capture ? { pcap: (bytes: Uint8Array) => post({ kind: 'pcap', bytes: bytes.slice() }) } : {}),
      },
    );
    post({ kind: 'started' });
    const end = machine.run(job.untilNs);
    const { hits, remaps } = machine.deviceModel.mapCache.counters;
    post({
      kind: 'end',
      result: {
        outcome: runOutcome(end, machine.domain.shutdownReason), instructions: machine.hvm.engine.instructions, ns: machine.clock.nowNs(),
        mapCache: { hits, remaps }, linear: linearAddresses(machine),
      },
    });
  } catch (error) {
    const { message, stack } = error as Error;
    post({ kind: 'failed', message, isUser: error instanceof UserError, stack: stack ?? message });
  }
}

/** Linear addresses of the guest, kept where it ran in long mode: page tables of other modes are not read. */
function linearAddresses(machine: InlineMachine): JobResult['linear'] {
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
