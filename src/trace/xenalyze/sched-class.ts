import type { TracedPcpu } from './domains.ts';
import { CREDIT2_SWAPPED_UNTIL } from '../records/decode.ts';
import { describe } from './describe.ts';
import type { Engine } from './engine.ts';
import { micros } from './sched-verbose.ts';
import { fullWords } from '../records/layouts.ts';
import type { TextBuffer } from './text.ts';

/** Lines of the schedulers' own records (TRC_SCHED_CLASS); they change nothing. */
export function schedClassProcess(engine: Engine, p: TracedPcpu): void {
  if (!engine.text) return;
  const known = SCHEDULERS[(p.event >>> 9) & 7]?.(engine, p, p.event & 0x1ff) ?? false;
  if (!known) engine.generic(p);
}

type Lines = (engine: Engine, p: TracedPcpu, event: number) => boolean;

const u = (p: TracedPcpu, i: number): number => p.words[p.data + i]! >>> 0;
const s = (p: TracedPcpu, i: number): number => p.words[p.data + i]!;
const low = (p: TracedPcpu, i: number): number => p.words[p.data + i]! & 0xffff;
const high = (p: TracedPcpu, i: number): number => p.words[p.data + i]! >>> 16;

function text(engine: Engine, line: string): boolean {
  const out = engine.line(32);
  out.str(line);
  out.byte(10);
  return true;
}

/** "… dXvY" of a word with the domain in its high half. */
function packed(engine: Engine, p: TracedPcpu, i: number, line: string): TextBuffer {
  const out = engine.line(32);
  out.str(line);
  engine.who(high(p, i), low(p, i));
  return out;
}

function pair(engine: Engine, p: TracedPcpu, i: number, line: string): TextBuffer {
  const out = engine.line(32);
  out.str(line);
  engine.who(u(p, i), u(p, i + 1));
  return out;
}

function number(out: TextBuffer, label: string, value: number): TextBuffer {
  out.str(label);
  out.d(value);
  return out;
}

function end(out: TextBuffer): boolean {
  out.byte(10);
  return true;
}

const credit: Lines = (engine, p, event) => {
  switch (event) {
    case 1:
      return text(engine, ' csched:sched_tasklet');
    case 2:
      return end(number(pair(engine, p, 0, ' csched:acct_start '), ', active_vcpus ', u(p, 2)));
    case 3:
      return end(number(pair(engine, p, 0, ' csched:acct_stop '), ', active_vcpus ', u(p, 2)));
    case 4:
      return end(number(pair(engine, p, 1, ' csched:stolen_vcpu '), ' from cpu ', u(p, 0)));
    case 5: {
      const out = number(engine.line(32), ' csched:pick_cpu ', u(p, 2));
      out.str(' for ');
      engine.who(u(p, 0), u(p, 1));
      return end(out);
    }
    case 6:
      return end(number(engine.line(32), ' csched:runq_tickle, cpu ', u(p, 0)));
    case 7:
    case 8: {
      const out = pair(engine, p, 0, ' csched: ');
      out.str(event === 7 ? ' boosted\n' : ' unboosted\n');
      return true;
    }
    case 9: {
      const out = number(engine.line(32), ' csched:schedule cpu ', low(p, 0));
      const word = s(p, 0);
      if ((word & 0xff0000) !== 0) out.str(', tasklet scheduled');
      out.str((word & 0xff000000) !== 0 ? ', idle\n' : ', busy\n');
      return true;
    }
    case 10:
      return ratelimit(engine, p, ' csched:ratelimit, ');
    case 11:
      return end(
        number(engine.line(32), u(p, 1) !== 0 ? ' csched:load_balance checking ' : ' csched:load_balance skipping ', u(p, 0)),
      );
    default:
      return false;
  }
};

function ratelimit(engine: Engine, p: TracedPcpu, line: string): boolean {
  const out = packed(engine, p, 0, line);
  out.str(' run only ');
  micros(out, u(p, 1));
  return end(out);
}

/** A fixed-point load of `shift` fraction bits, in per cent, and as it is. */
function load(out: TextBuffer, p: TracedPcpu, i: number, shift: number): void {
  const value = u(p, i + 1) * 0x100000000 + u(p, i);
  out.f3((value * 100) / 2 ** (shift & 63));
  out.str('% (');
  out.u64(s(p, i), s(p, i + 1));
  out.byte(41);
}

/** A record of an old release: its words are fewer or stand otherwise than xenalyze's line has them. */
function oldCredit2(engine: Engine, p: TracedPcpu, event: number): boolean {
  const { exact, xenMinor } = engine.options;
  if (exact) return false;
  if (xenMinor !== null && xenMinor <= CREDIT2_SWAPPED_UNTIL) return true;
  return event !== 3 && event !== 5 && p.extra < fullWords(p.event);
}

const credit2: Lines = (engine, p, event) => {
  if (oldCredit2(engine, p, event)) return describe(engine, p);
  switch (event) {
    case 1:
    case 4:
      return true;
    case 2:
      return end(number(packed(engine, p, 0, ' csched2:runq_insert '), ', position ', u(p, 1)));
    case 3: {
      const out = number(packed(engine, p, 0, ' csched2:burn_credits '), ', credit = ', s(p, 1));
      out.str(', ');
      // Up to Xen 4.9 there is no budget; xenalyze takes the next word for one.
      const budget = engine.options.exact || p.extra >= 4;
      if (budget && s(p, 2) !== -0x80000000) number(out, 'budget = ', s(p, 2)).str(', ');
      return end(number(out, 'delta = ', s(p, budget ? 3 : 2)));
    }
    case 5: {
      const out = number(packed(engine, p, 0, ' csched2:tickle_check '), ', credit = ', s(p, 1));
      if (engine.options.exact || p.extra >= 3) number(out, ', score = ', s(p, 2));
      if (engine.options.exact) out.byte(10);
      return end(out);
    }
    case 6:
      return end(number(engine.line(32), ' csched2:runq_tickle cpu ', low(p, 0)));
    case 7:
      return end(
        number(number(packed(engine, p, 0, ' csched2:reset_credits '), ', credit_start = ', s(p, 1)), ', credit_end = ', s(p, 2)),
      );
    case 8:
      return text(engine, ' csched2:sched_tasklet');
    case 9:
      return text(engine, ' csched2:update_load');
    case 10:
      return end(number(packed(engine, p, 0, ' csched2:runq_assign '), ' on rq# ', low(p, 1)));
    case 11: {
      const out = packed(engine, p, 2, ' csched2:update_vcpu_load ');
      out.str(', vcpu_load = ');
      load(out, p, 0, s(p, 3));
      return end(out);
    }
    case 12: {
      const word = s(p, 4);
      const shift = word >>> 24;
      const out = number(
        number(engine.line(32), ' csched2:update_rq_load rq# ', (word >>> 16) & 0xff),
        ', load = ',
        word & 0xffff,
      );
      out.str(', avgload = ');
      load(out, p, 0, shift);
      out.str(', b_avgload = ');
      load(out, p, 2, shift);
      return end(out);
    }
    case 13:
      return end(
        number(number(packed(engine, p, 0, ' csched2:runq_tickle_new '), ', processor = ', u(p, 1)), ', credit = ', s(p, 2)),
      );
    case 14:
      return end(number(number(engine.line(32), ' csched2:update_max_weight rq# ', low(p, 0)), ', max_weight = ', high(p, 0)));
    case 15:
      return end(number(number(packed(engine, p, 0, ' csched2:migrate '), ' rq# ', low(p, 1)), ' --> rq# ', high(p, 1)));
    case 16:
      return end(
        number(
          number(number(engine.line(32), ' csched2:load_balance_check lrq# ', low(p, 0)), ', orq# ', high(p, 0)),
          ', delta = ',
          u(p, 1),
        ),
      );
    case 17: {
      const out = number(engine.line(32), ' csched2:load_balance_begin lrq# ', low(p, 4));
      out.str(', avg_load = ');
      out.u64(s(p, 0), s(p, 1));
      number(out, ' -- orq# ', high(p, 4)).str(', avg_load = ');
      out.u64(s(p, 2), s(p, 3));
      return end(out);
    }
    case 19:
      return end(number(number(packed(engine, p, 2, ' csched2:picked_cpu '), ', rq# ', low(p, 3)), ', cpu ', high(p, 3)));
    case 20: {
      const out = number(packed(engine, p, 0, ' csched2:runq_candidate '), ', credit = ', s(p, 2));
      if (s(p, 1) === -1) out.str(', no cpu was tickled\n');
      else number(out, ', cpu ', u(p, 1)).str(' was tickled\n');
      return true;
    }
    case 21: {
      const out = number(number(engine.line(32), ' csched2:schedule cpu ', low(p, 0)), ', rq# ', high(p, 0));
      const word = s(p, 1);
      const idle = (word & 0xff00) !== 0;
      if ((word & 0xff) !== 0) out.str(', tasklet scheduled');
      out.str(idle ? ', idle' : ', busy');
      if (idle) out.str((word & 0xff0000) !== 0 ? ', SMT idle' : ', SMT busy');
      out.str((word & 0xff000000) !== 0 ? ', tickled\n' : ', not tickled\n');
      return true;
    }
    case 22:
      return ratelimit(engine, p, ' csched2:ratelimit, ');
    case 23:
      return end(packed(engine, p, 0, ' csched2:runq_cand_check '));
    default:
      return false;
  }
};

/** @param at the word in which the deadline begins */
function deadline(engine: Engine, p: TracedPcpu, line: string, at = 1): boolean {
  const out = packed(engine, p, 0, line);
  if (at > 1) number(out, ', priority_level = ', u(p, 1));
  out.str(', deadline = ');
  out.u64(s(p, at), s(p, at + 1));
  out.str(', budget = ');
  out.u64(s(p, at + 2), s(p, at + 3));
  return end(out);
}

/** RTDS records hold priorities since Xen 4.10; xenalyze 4.17 reads them as those before. */
const hasPriority = (engine: Engine, p: TracedPcpu): boolean => !engine.options.exact && p.extra >= 6;

const rtds: Lines = (engine, p, event) => {
  switch (event) {
    case 1:
      return end(number(engine.line(32), ' rtds:runq_tickle cpu ', low(p, 0)));
    case 2:
      return deadline(engine, p, ' rtds:runq_pick ');
    case 3: {
      const out = packed(engine, p, 0, ' rtds:burn_budget ');
      out.str(', budget = ');
      out.u64(s(p, 1), s(p, 2));
      number(out, ', delta = ', s(p, 3));
      if (hasPriority(engine, p)) {
        number(out, ', priority_level = ', u(p, 4));
        out.str((s(p, 5) & 0xff) !== 0 ? ', has extratime' : ', no extratime');
      }
      return end(out);
    }
    case 4:
      return deadline(engine, p, ' rtds:repl_budget ', hasPriority(engine, p) ? 2 : 1);
    case 5:
      return text(engine, ' rtds:sched_tasklet');
    case 6: {
      const word = s(p, 0);
      const out = number(engine.line(32), ' rtds:schedule cpu ', word & 0xffff);
      if (engine.options.exact) out.str(', ');
      if ((word & 0xff0000) !== 0) out.str(', tasklet scheduled');
      out.str((word & 0x0f000000) !== 0 ? ', idle' : ', busy');
      out.str((word & 0xf0000000) !== 0 ? ', tickled\n' : ', not tickled\n');
      return true;
    }
    default:
      return false;
  }
};

const snull: Lines = (engine, p, event) => {
  switch (event) {
    case 1:
      return end(number(packed(engine, p, 0, ' null:picked_cpu '), ', cpu ', u(p, 1)));
    case 2:
      return end(number(packed(engine, p, 0, ' null:vcpu_assign '), ' to cpu ', u(p, 1)));
    case 3:
      return end(number(packed(engine, p, 0, ' null:vcpu_deassign '), ' from cpu ', u(p, 1)));
    case 4:
      return end(number(number(packed(engine, p, 0, ' null:migrate '), ', cpu ', low(p, 1)), ', new_cpu ', high(p, 1)));
    case 5: {
      const out = number(engine.line(32), ' null:schedule cpu ', high(p, 0));
      if (low(p, 0) !== 0) out.str(', tasklet scheduled');
      if (low(p, 1) === 0xffff) {
        out.str(', no vcpu\n');
      } else {
        const dom = (s(p, 1) >> 16) >>> 0;
        out.str(', vcpu d');
        out.u(dom);
        out.byte(118);
        out.d((s(p, 1) << 16) >> 16);
        out.byte(10);
      }
      return true;
    }
    case 6:
      return text(engine, ' null:sched_tasklet');
    default:
      return false;
  }
};

/** By the scheduler ids of public/trace.h. */
const SCHEDULERS: readonly (Lines | undefined)[] = [credit, credit2, undefined, undefined, rtds, snull];
