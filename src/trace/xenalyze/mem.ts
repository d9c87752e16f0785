import type { Domain, TracedPcpu, Vcpu } from './domains.ts';
import { POD_CONTEXT_NAMES } from './domains.ts';
import { describe } from './describe.ts';
import type { Engine } from './engine.ts';
import { TRC_DOM0_DOM_ADD, TRC_PM_FREQ_CHANGE, TRC_PM_IDLE_ENTRY, TRC_PM_IDLE_EXIT } from '../events.ts';
import type { TextBuffer } from './text.ts';

/** Memory, domain, power and interrupt-routing records. */

export const MEM_NAMES: Readonly<Record<number, string>> = {
  1: 'grant-map',
  2: 'grant-unmap',
  3: 'grant-transfer',
  4: 'set-p2m',
  5: 'decrease-reservation',
  16: 'pod-populate',
  17: 'pod-zero-reclaim',
  18: 'pod-superpage-splinter',
};
const MEM_MAX = 19;
const CSTATE_MAX = 5;
const CSTATE_INVALID = 6;

const signed16 = (word: number, shift: number): number => ((word >>> shift) << 16) >> 16;
const increment = (places: number[], at: number): void => {
  places[at] = (places[at] ?? 0) + 1;
};

export function memProcess(engine: Engine, p: TracedPcpu): void {
  const words = p.words;
  const d = p.data;
  const minor = p.event & 0xfff;
  switch (minor) {
    case 1:
    case 2:
    case 3:
      if (engine.text) {
        const out = engine.line(32);
        out.byte(32);
        out.str(MEM_NAMES[minor]!);
        out.str(' domain ');
        out.u(words[d]! >>> 0);
        out.byte(10);
      }
      return;
    case 4:
      if (engine.text) {
        const out = engine.line(32);
        out.str(' set_p2m_entry d');
        out.u(words[d + 5]! & 0xffff);
        out.str(' o');
        out.u(words[d + 5]! >>> 16);
        out.str(' t ');
        out.u(words[d + 4]! >>> 0);
        frames(out, p, true);
      }
      return;
    case 5:
      if (engine.text) pod(engine, p, ' decrease_reservation d', 2, true, false);
      return;
    case 16:
      if (engine.text) pod(engine, p, ' pod_populate d', 4, true, true);
      if (engine.options.summary && p.current !== null)
        increment(p.current.domain.podPopulateOrder, canonicalOrder(engine, signed16(words[d + 4]!, 16)));
      return;
    case 17:
      zeroReclaim(engine, p);
      return;
    case 18:
      if (engine.text) {
        const out = engine.line(32);
        out.str(' pod_spage_splinter d');
        out.d(signed16(words[d + 2]!, 0));
        frames(out, p, false);
      }
      return;
    default:
      engine.processGeneric(p);
      if (engine.options.summary && minor < MEM_MAX && p.current !== null) {
        increment(p.current.domain.memopsDone, minor);
        increment(engine.domain(words[d]!).memopsDoneFor, minor);
      }
  }
}

/** " g GFN m MFN" and the end of the line. */
function frames(out: TextBuffer, p: TracedPcpu, both: boolean): void {
  out.str(' g ');
  out.x64(p.words[p.data]!, p.words[p.data + 1]!);
  if (both) {
    out.str(' m ');
    out.x64(p.words[p.data + 2]!, p.words[p.data + 3]!);
  }
  out.byte(10);
}

function pod(engine: Engine, p: TracedPcpu, text: string, at: number, order: boolean, both: boolean): void {
  const out = engine.line(32);
  const word = p.words[p.data + at]!;
  out.str(text);
  out.d(signed16(word, 0));
  if (order) {
    out.str(' o');
    out.d(signed16(word, 16));
  }
  frames(out, p, both);
}

function zeroReclaim(engine: Engine, p: TracedPcpu): void {
  const v: Vcpu | null = p.current;
  let context = 0;
  if (v?.hvm?.vmexitValid === true) {
    const reason = v.hvm.exitReason;
    if (reason === 48 || reason === 0) context = 1;
    else if (reason === 18) context = 2;
  }
  if (engine.text) {
    pod(engine, p, ' pod_zero_reclaim d', 4, true, true);
    engine.out.length--;
    engine.out.str(' ctx ');
    engine.out.str(POD_CONTEXT_NAMES[context]!);
    engine.out.byte(10);
  }
  if (!engine.options.summary || v === null) return;
  const domain: Domain = v.domain;
  const order = canonicalOrder(engine, signed16(p.words[p.data + 4]!, 16));
  increment(domain.podReclaimOrder, order);
  increment(domain.podReclaimContext, context);
  increment(domain.podReclaimContextOrder[context]!, order);
}

/** 4 KiB, 2 MiB and 1 GiB have places 0, 1 and 2; anything else place 4. */
function canonicalOrder(engine: Engine, order: number): number {
  if (order % 9 !== 0 || Math.trunc(order / 9) > 2) {
    engine.warn(`p2m_canonical_order: Strange, non-canonical order ${order}\n`);
    return 4;
  }
  return order / 9;
}

export function dom0Process(engine: Engine, p: TracedPcpu): void {
  if (((p.event >>> 12) & 15) !== 1) {
    engine.processGeneric(p);
    return;
  }
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(p.event === TRC_DOM0_DOM_ADD ? ' creating domain d' : ' destroying domain d');
  out.u(p.words[p.data]! >>> 0);
  out.byte(10);
}

export function hwProcess(engine: Engine, p: TracedPcpu): void {
  switch ((p.event >>> 12) & 15) {
    case 1:
      pm(engine, p);
      break;
    case 2:
      if (engine.text) irq(engine, p);
      break;
    default:
  }
}

function pm(engine: Engine, p: TracedPcpu): void {
  const state = p.words[p.data]!;
  switch (p.event) {
    case TRC_PM_FREQ_CHANGE:
      if (engine.text) {
        const out = engine.line(32);
        out.str(' pm_freq_change o');
        out.d(state);
        out.str(' n');
        out.d(p.words[p.data + 1]!);
        out.byte(10);
      }
      return;
    case TRC_PM_IDLE_ENTRY:
      if (engine.text) cstate(engine, ' pm_idle_start c', state);
      if (state >>> 0 <= CSTATE_MAX) {
        p.powerState = state;
        engine.drawPcpu(p);
      }
      return;
    case TRC_PM_IDLE_EXIT:
      if (engine.text) cstate(engine, ' pm_idle_end c', state);
      if (p.powerState !== state && p.powerState !== CSTATE_INVALID)
        engine.always(`Strange, pm_idle_end ${state}, power_state ${p.powerState}!\n`);
      p.powerState = 0;
      engine.drawPcpu(p);
      return;
    default:
      engine.processGeneric(p);
  }
}

function cstate(engine: Engine, text: string, state: number): void {
  const out = engine.line(32);
  out.str(text);
  out.d(state);
  out.byte(10);
}

function irq(engine: Engine, p: TracedPcpu): void {
  const words = p.words;
  const d = p.data;
  switch (p.event & 0xfff) {
    case 1:
      moved(engine, p, ' irq_move_cleanup_delay irq ');
      return;
    case 2:
      moved(engine, p, ' irq_move_cleanup irq ');
      return;
    case 3:
      vector(engine, p, ' irq_bind_vector irq ');
      return;
    case 6:
      vector(engine, p, ' irq_assign_vector irq ');
      return;
    case 7: {
      const out = engine.line(32);
      out.str(' irq_unmapped_vector vec ');
      out.x(words[d]!);
      out.byte(10);
      return;
    }
    case 8: {
      const out = engine.line(32);
      out.str(' irq_handled irq ');
      out.x(words[d]!);
      out.byte(32);
      out.d((words[d + 2]! - words[d + 1]!) | 0);
      out.str(' (');
      out.d(words[d + 1]!);
      out.byte(44);
      out.d(words[d + 2]!);
      out.str(')\n');
      return;
    }
    default:
      if (engine.options.exact || !describe(engine, p)) engine.generic(p);
  }
}

function moved(engine: Engine, p: TracedPcpu, text: string): void {
  const out = engine.line(32);
  out.str(text);
  out.x(p.words[p.data]!);
  out.str(' vec ');
  out.x(p.words[p.data + 1]!);
  out.str(' cpu ');
  out.d(p.words[p.data + 2]!);
  out.byte(10);
}

function vector(engine: Engine, p: TracedPcpu, text: string): void {
  const out = engine.line(32);
  out.str(text);
  out.x(p.words[p.data]!);
  out.str(' vec ');
  out.x(p.words[p.data + 1]!);
  out.str(' mask');
  // xenalyze prints four words whatever the record holds; what follows the record shows through.
  const last = engine.options.exact ? 3 : Math.min(p.extra, 6) - 3;
  for (let i = last; i >= 0; i--) {
    out.byte(32);
    out.x0(p.words[p.data + 2 + i]!, 4);
  }
  out.byte(10);
}
