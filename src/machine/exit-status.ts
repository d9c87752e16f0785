/** How a run of a machine ends, and the exit status of the process for it: one table. */
import { ShutdownReason } from '../abi/sched.ts';
import type { LoopEnd } from '../hypervisor/sched/schedule.ts';

export type RunOutcome = 'poweroff' | 'reboot' | 'crash' | 'halted' | 'timeout' | 'full' | 'interrupted' | 'saved';

export const RUN_OUTCOMES: Readonly<Record<RunOutcome, { status: number; text: string }>> = {
  poweroff: { status: 0, text: 'the guest powered off' },
  reboot: { status: 10, text: 'the guest asked for a reboot' },
  crash: { status: 11, text: 'the guest crashed' },
  halted: { status: 12, text: 'the guest halted with interrupts off' },
  timeout: { status: 13, text: 'the time given ran out' },
  full: { status: 14, text: 'an output has reached its size' },
  interrupted: { status: 130, text: 'interrupted' },
  saved: { status: 0, text: 'the machine was saved' },
};

/** Outcome of a run from how its loop ended and the domain's shutdown reason (-1: none). */
export function runOutcome(end: LoopEnd | 'paused', reason: number): RunOutcome {
  if (end === 'paused') return 'saved';
  if (end === 'until') return 'timeout';
  // Nothing can ever happen again: as good as halted.
  if (end === 'idle') return 'halted';
  switch (reason) {
    case ShutdownReason.poweroff:
    case ShutdownReason.suspend:
      return 'poweroff';
    case ShutdownReason.reboot:
    case ShutdownReason.softReset:
      return 'reboot';
    case ShutdownReason.halted:
      return 'halted';
    case ShutdownReason.interrupted:
    case ShutdownReason.inspected:
      return 'interrupted';
    default:
      return 'crash';
  }
}
