import type { TracedPcpu } from './domains.ts';
import { describe } from './describe.ts';
import type { Engine } from './engine.ts';
import type { TextBuffer } from './text.ts';

/** Lines of TRC_SCHED_VERBOSE records; they change nothing. */
export function schedVerboseProcess(engine: Engine, p: TracedPcpu): void {
  if (!engine.text) return;
  const words = p.words;
  const d = p.data;
  const dom = words[d]! >>> 0;
  const vcpu = words[d + 1]! >>> 0;
  switch (p.event & 0xfff) {
    case 1:
      domain(engine, ' sched_init_domain d', dom);
      return;
    case 2:
      domain(engine, ' sched_destroy_domain d', dom);
      return;
    case 9:
      domain(engine, ' sched_adjust d', dom);
      return;
    case 3:
      action(engine, ' vcpu_sleep ', dom, vcpu);
      return;
    case 4:
      action(engine, ' vcpu_wake ', dom, vcpu);
      return;
    case 5:
      action(engine, ' vcpu_yield ', dom, vcpu);
      return;
    case 6:
      action(engine, ' vcpu_block ', dom, vcpu);
      return;
    case 7:
    case 16: {
      const out = engine.line(32);
      out.str((p.event & 0xfff) === 7 ? ' sched_shutdown ' : ' sched_shutdown_code ');
      engine.who(dom, vcpu);
      out.str(', reason = ');
      out.u(words[d + 2]! >>> 0);
      out.byte(10);
      return;
    }
    case 10: {
      const out = engine.line(32);
      out.str(' sched_switch prev ');
      engine.who(dom, vcpu);
      out.str(' next ');
      engine.who(words[d + 2]! >>> 0, words[d + 3]! >>> 0);
      out.byte(10);
      return;
    }
    case 14: {
      if (!engine.options.exact && p.extra < 3 && describe(engine, p)) return;
      const out = engine.line(32);
      out.str(' sched_switch prev d');
      out.u(dom);
      out.byte(118);
      out.d(words[d + 1]!);
      out.str(', run for ');
      micros(out, words[d + 2]! >>> 0);
      out.byte(10);
      return;
    }
    case 15: {
      if (!engine.options.exact && p.extra < 4 && describe(engine, p)) return;
      const out = engine.line(32);
      out.str(' sched_switch next ');
      engine.who(dom, vcpu);
      const since = words[d + 2]! >>> 0;
      if (since !== 0) {
        out.str(', was runnable for ');
        micros(out, since);
      }
      slice(out, words[d + 3]!);
      return;
    }
    case 17: {
      const out = engine.line(32);
      out.str(' sched_switch continue ');
      engine.who(dom, vcpu);
      out.str(', run for ');
      micros(out, words[d + 2]! >>> 0);
      slice(out, words[d + 3]!);
      return;
    }
    case 8:
    case 11:
    case 12:
    case 13:
      return;
    default:
      engine.generic(p);
  }
}

function domain(engine: Engine, text: string, dom: number): void {
  const out = engine.line(32);
  out.str(text);
  out.u(dom);
  out.byte(10);
}

function action(engine: Engine, text: string, dom: number, vcpu: number): void {
  const out = engine.line(32);
  out.str(text);
  engine.who(dom, vcpu);
  out.byte(10);
}

/** Nanoseconds as xenalyze prints microseconds: the fraction without its leading zeros. */
export function micros(out: TextBuffer, ns: number): void {
  const whole = Math.floor(ns / 1000);
  out.u(whole);
  out.byte(46);
  out.u(ns - whole * 1000);
  out.str('us');
}

function slice(out: TextBuffer, ns: number): void {
  if (ns > 0) {
    out.str(', next slice ');
    micros(out, ns);
  }
  out.byte(10);
}
