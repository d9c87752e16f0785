import { DATA_NONE, DATA_PV } from './domains.ts';
import type { PvState, TracedPcpu } from './domains.ts';
import { ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import type { Transitions } from '../follow/transitions.ts';
import { HYPERCALL_MAX } from './hvm-exit.ts';
import { GRANT_TABLE_OPS, hypercallName, SCHED_OPS, VCPU_OPS } from '../records/hypercalls.ts';

/** TRC_PV records: entries of PV guests into the hypervisor. */

export const PV_NAMES: readonly (string | undefined)[] = [
  undefined,
  'hypercall',
  undefined,
  'trap',
  'page_fault',
  'forced_invalid_op',
  'emulate privop',
  'emulate 4g',
  'math state restore',
  'paging fixup',
  'gdt/ldt mapping fault',
  'ptwr',
  'ptwr(pae)',
  'hypercall',
  'hypercall (subcall)',
];
export const PV_HYPERCALL_V2 = 13;
export const PV_SUBCALL = 14;
const PV_PTWR = 11;
const PV_PTWR_PAE = 12;
/** Hypercall numbers and traps a summary has places for. */
const PV_HYPERCALL_PLACES = 56;
const PV_TRAP_PLACES = 20;

const increment = (places: number[], at: number): void => {
  places[at] = (places[at] ?? 0) + 1;
};

export function pvProcess(engine: Engine, p: TracedPcpu): void {
  const v = p.current!;
  if (v.dataType === DATA_NONE) engine.setDataType(v, DATA_PV);
  const pv = v.pv!;
  const minor = p.event & 0xff;
  if (engine.options.summary) increment(pv.events, minor === PV_PTWR_PAE ? PV_PTWR : minor);
  switch (minor) {
    case 1:
      hypercall(engine, p, pv);
      if (engine.transitions !== null) toldOld(engine, engine.transitions, p);
      break;
    case 3:
      trap(engine, p, pv);
      break;
    case PV_PTWR:
    case PV_PTWR_PAE:
      ptwr(engine, p, minor);
      break;
    case PV_HYPERCALL_V2:
      hypercallV2(engine, p, pv, '');
      if (engine.transitions !== null) told(engine, engine.transitions, p);
      break;
    case PV_SUBCALL:
      hypercallV2(engine, p, pv, ' ');
      if (engine.transitions !== null) told(engine, engine.transitions, p);
      break;
    default:
      if (engine.text) generic(engine, p, minor);
  }
}

/** "  2 (name)" of a hypercall number. */
function opName(engine: Engine, op: number, padded: boolean): void {
  const out = engine.out;
  const known = op < HYPERCALL_MAX;
  if (padded || known) out.xPadded(op, 2);
  else out.x(op);
  const name = known || !engine.options.exact ? hypercallName(op) : null;
  if (known || name !== null) {
    out.str(' (');
    out.str(name ?? '(null)');
    out.byte(41);
  }
}

function hypercall(engine: Engine, p: TracedPcpu, pv: PvState): void {
  const wide = (p.event & 0x100) !== 0;
  const eax = p.words[p.data + (wide ? 2 : 1)]! >>> 0;
  if (engine.options.summary && eax < PV_HYPERCALL_PLACES) increment(pv.hypercalls, eax);
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(' hypercall ');
  opName(engine, eax, false);
  out.str(' eip ');
  out.x64(p.words[p.data]!, wide ? p.words[p.data + 1]! : 0);
  out.byte(10);
}

function trap(engine: Engine, p: TracedPcpu, pv: PvState): void {
  const wide = (p.event & 0x100) !== 0;
  const word = p.words[p.data + (wide ? 2 : 1)]!;
  const number = word & 0x7fff;
  if (engine.options.summary && number < PV_TRAP_PLACES) increment(pv.traps, number);
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(' trap ');
  out.x(number);
  out.str(' eip ');
  out.x64(p.words[p.data]!, wide ? p.words[p.data + 1]! : 0);
  if ((word & 0x8000) !== 0) {
    out.str(' ec ');
    out.x(word >>> 16);
  }
  out.byte(10);
}

function ptwr(engine: Engine, p: TracedPcpu, minor: number): void {
  const words = p.words;
  const d = p.data;
  const wide = (p.event & 0x100) !== 0;
  const pae = minor === PV_PTWR_PAE;
  if (pae === wide) {
    engine.warn(`Strange: PV_PTWR_EMULATION, but ${pae ? '' : '!'}x64! ${p.event.toString(16)}\n`);
    engine.error(ERR_RECORD, p);
  }
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(' ptwr l1e ');
  out.x64(words[d]!, words[d + 1]!);
  out.str(' eip ');
  if (pae) out.x(words[d + 3]!);
  else out.x64(words[d + 4]!, words[d + 5]!);
  out.str(' addr ');
  if (pae) out.x(words[d + 2]!);
  else out.x64(words[d + 2]!, words[d + 3]!);
  out.byte(10);
}

function generic(engine: Engine, p: TracedPcpu, minor: number): void {
  const out = engine.line(32);
  const name = PV_NAMES[minor];
  if (name !== undefined) {
    out.byte(32);
    out.str(name);
  } else {
    out.str(' PV-');
    out.u(minor);
    out.byte(32);
  }
  if (p.extra > 0) {
    out.str('[ ');
    for (let i = 0; i < p.extra; i++) {
      out.x(p.words[p.data + i]!);
      out.byte(32);
    }
    out.byte(93);
  }
  out.byte(10);
}

/** Argument `n` of a hypercall record, its low word; 0 if it is not there. */
function argument(p: TracedPcpu, n: number): number {
  const present = p.words[p.data]! >>> 20;
  let word = 1;
  for (let i = 0; i < 6 && word < p.extra; i++) {
    const size = (present >>> (2 * i)) & 3;
    if (i === n) return size === 1 || size === 2 ? p.words[p.data + word]! : 0;
    word += size;
  }
  return 0;
}

/** Which argument of a hypercall is its sub-operation, and which one counts operations, as far as Xen records them. */
const COMMAND_OF: Readonly<Record<number, number>> = { 20: 0, 24: 0, 29: 0 };
const COUNT_OF: Readonly<Record<number, number>> = { 1: 1, 13: 1, 20: 2, 26: 1 };
/** mmu_update marks a call that goes on after an interruption. */
const PREEMPTED = 0x80000000;

function told(engine: Engine, to: Transitions, p: TracedPcpu): void {
  const op = p.words[p.data]! & 0xfffff;
  const command = COMMAND_OF[op];
  const count = COUNT_OF[op];
  const v = p.current!;
  to.hypercall(
    p.pid,
    v.domain.id,
    v.id,
    op,
    command === undefined ? -1 : argument(p, command) >>> 0,
    count === undefined ? -1 : (argument(p, count) & ~PREEMPTED) >>> 0,
    p.tsc - engine.firstTsc,
    -1,
  );
}

/** The record of old releases has the number alone. */
function toldOld(engine: Engine, to: Transitions, p: TracedPcpu): void {
  const eax = p.words[p.data + ((p.event & 0x100) !== 0 ? 2 : 1)]! >>> 0;
  const v = p.current!;
  to.hypercall(p.pid, v.domain.id, v.id, eax, -1, -1, p.tsc - engine.firstTsc, -1);
}

function hypercallV2(engine: Engine, p: TracedPcpu, pv: PvState, indent: string): void {
  const op = p.words[p.data]! & 0xfffff;
  if (engine.options.summary && op < PV_HYPERCALL_PLACES) increment(pv.hypercalls, op);
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(indent);
  out.str(' hypercall ');
  opName(engine, op, true);
  switch (op) {
    case 1: {
      const updates = argument(p, 1);
      out.byte(32);
      out.d(updates & 0x7fffffff);
      out.str(updates < 0 ? ' updates (preempted)' : ' updates');
      break;
    }
    case 13:
      ops(engine, argument(p, 1), ' calls');
      break;
    case 20:
      command(engine, GRANT_TABLE_OPS, argument(p, 0));
      ops(engine, argument(p, 2), ' ops');
      break;
    case 24:
      command(engine, VCPU_OPS, argument(p, 0));
      out.str(' vcpu ');
      out.d(argument(p, 1));
      break;
    case 26:
      ops(engine, argument(p, 1), ' ops');
      break;
    case 29:
      command(engine, SCHED_OPS, argument(p, 0));
      break;
    default:
      args(engine, p);
  }
  out.byte(10);
}

function ops(engine: Engine, count: number, what: string): void {
  engine.out.byte(32);
  engine.out.d(count);
  engine.out.str(what);
}

function command(engine: Engine, names: readonly string[], cmd: number): void {
  const name = names[cmd >>> 0];
  engine.out.byte(32);
  engine.out.str(name ?? `unknown (${cmd})`);
}

function args(engine: Engine, p: TracedPcpu): void {
  const out = engine.out;
  const present = p.words[p.data]! >>> 20;
  let word = 1;
  for (let i = 0; i < 6 && word < p.extra; i++) {
    const size = (present >>> (2 * i)) & 3;
    if (size === 0) {
      out.str(' ??');
    } else if (size === 1) {
      out.byte(32);
      out.x0(p.words[p.data + word]!, 8);
    } else if (size === 2) {
      out.byte(32);
      // xenalyze prints 64-bit arguments in decimal.
      if (engine.options.exact) {
        out.u64Zero(p.words[p.data + word]!, p.words[p.data + word + 1]!, 16);
      } else {
        out.x0(p.words[p.data + word + 1]!, 8);
        out.x0(p.words[p.data + word]!, 8);
      }
    }
    word += size;
  }
}
