/**
 * The border between generated code and TypeScript.
 *
 * The rule: TypeScript that runs inside an instruction throws, generated code returns a Status. A helper ends its instruction by
 * throwing one of two constants, FAULT (an exception waits in core.faultVector) or EXIT (core.exit is filled in); it returns
 * Status.next where the instruction goes on. Nothing thrown reaches generated code: the functions here catch it, deliver the
 * exception, and return the Status that generated code then leaves with. Core.access and what it calls are asked by both sides and
 * therefore return a Status themselves (`pend…`); Core.load, store and their kin turn it into a throw for helpers.
 */
import { SLOW_ALIGNED, SLOW_STACK } from '../emit/context.ts';
import type { InterpreterImports } from '../interpreter/interpreter.ts';
import { CB_CPL, CB_SLOW_VA, CB_SLOW_VALUE, Status, Vector } from '../memory/control-block.ts';
import { linearFromHalves } from '../memory/memory-views.ts';
import { EXTRA_STACK, REC_EXTRA } from '../records/record.ts';
import { EXIT, FAULT, type Core } from '../system/core.ts';
import type { Events } from '../system/events.ts';
import type { CodeFetch } from './code-fetch.ts';
import type { Helper } from './helpers/context.ts';

export class SlowPaths {
  private readonly core: Core;
  private readonly events: Events;
  private readonly helpers: readonly Helper[];
  /** What the generated module imports. */
  readonly imports: InterpreterImports;

  /** @param interpret see to it that a record is interpreted until the run ends. */
  constructor(core: Core, events: Events, fetch: CodeFetch, helpers: readonly Helper[], interpret: (record: number) => void) {
    this.core = core;
    this.events = events;
    this.helpers = helpers;
    this.imports = {
      slowRead: (record, size) => this.delivered(this.slowAccess(record, size, false)),
      slowWrite: (record, size) => this.delivered(this.slowAccess(record, size, true)),
      tryRead: (record, size) => this.slowAccess(record, size, false),
      tryWrite: (record, size) => {
        core.keepsCode = true;
        const status = this.slowAccess(record, size, true);
        core.keepsCode = false;
        return status;
      },
      deliver: () => events.deliverFault(),
      helper: (number, record, argument) => this.helper(number, record, argument),
      lookup: () => fetch.lookup(),
      link: (record, way) => fetch.link(record, way),
      interpret,
    };
  }

  private helper(number: number, record: number, argument: number): number {
    this.core.begin(record);
    try {
      return this.helpers[number]!(argument);
    } catch (unwind) {
      if (unwind === FAULT) return this.events.deliverFault();
      if (unwind === EXIT) return Status.exit;
      throw unwind;
    }
  }

  private delivered(status: number): number {
    return status === Status.fault ? this.events.deliverFault() : status;
  }

  private slowAccess(record: number, size: number, write: boolean): number {
    const { core } = this;
    const { cb } = core;
    const bytes = size & 0xff;
    const value = (cb.base + CB_SLOW_VALUE) >> 2;
    core.begin(record);
    if (write) {
      core.data32[0] = cb.u32[value]!;
      core.data32[1] = cb.u32[value + 1]!;
      core.data32[2] = cb.u32[value + 2]!;
      core.data32[3] = cb.u32[value + 3]!;
    }
    const lo = cb.getSigned(CB_SLOW_VA);
    const hi = cb.getSigned(CB_SLOW_VA + 4);
    const stack = (size & SLOW_STACK) !== 0 || (cb.u8[record + REC_EXTRA]! & EXTRA_STACK) !== 0;
    // Alignment is looked at before the address is found not to be canonical.
    const status =
      size & SLOW_ALIGNED && lo & 15
        ? core.pend(Vector.gp, 0)
        : core.access(linearFromHalves(lo, hi), bytes, write, cb.get(CB_CPL) === 3, size, stack);
    if (status === Status.next && !write) {
      cb.u32[value] = core.data32[0]!;
      cb.u32[value + 1] = core.data32[1]!;
      cb.u32[value + 2] = core.data32[2]!;
      cb.u32[value + 3] = core.data32[3]!;
    }
    return status;
  }
}
