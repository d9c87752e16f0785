import { clearIpi, FAKE_VECTOR, GUEST_INTERRUPT_MAX, LOST, runstateName } from './domains.ts';
import type { HvmState, TracedPcpu, Vcpu } from './domains.ts';
import type { Engine } from './engine.ts';
import { tscText } from '../format/feed.ts';

/** Interrupts of a guest: what woke it, how long until it halts again, IPIs on their way. */

/** TRC_HVM_INJ_VIRQ */
export function injVirqProcess(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): void {
  const vector = p.words[p.data]!;
  const fake = p.words[p.data + 1] !== 0;
  const out = engine.out;
  if (engine.text) {
    engine.line(32);
    out.str(' inj_virq vec ');
    out.u(vector >>> 0);
    out.str(fake ? '  fake\n' : '  real\n');
  }
  if (engine.transitions !== null) {
    const since = h.waking ? p.tsc - h.wakingTsc : -1;
    engine.transitions.injected(p.pid, v.domain.id, v.id, vector >>> 0, fake, p.tsc - engine.firstTsc, since);
  }
  const known = vector >= 0 && vector < GUEST_INTERRUPT_MAX;
  if (engine.options.summary) h.guestInterrupt(known ? vector : GUEST_INTERRUPT_MAX).count++;
  if (known) {
    const interrupt = h.guestInterrupt(vector);
    if (h.waking && h.wakeVector === 0) {
      if (interrupt.startTsc !== 0) {
        engine.warn(
          `Strange, d${v.domain.id}v${v.id} waking && wake_vector 0 but vec ${vector} start_tsc ${tscText(engine.merge, interrupt.startTsc)}!\n`,
        );
      }
      if (h.interrupts !== 0) engine.warn(`Strange, waking && wake_vector 0 but interrupts_this_wait_to_halt ${h.interrupts}!\n`);
      if (engine.text) w2h(engine, v, ' Setting wake_vector ', vector);
      h.wakeVector = engine.options.svm && fake ? FAKE_VECTOR : vector;
      interrupt.isWake = true;
    }
    if (interrupt.startTsc === 0) {
      interrupt.startTsc = 1;
      h.interruptsWantingTsc++;
      h.interrupts++;
      if (engine.text) w2h(engine, v, ' Starting vec ', vector);
    }
  }
  const ipi = v.ipi(vector);
  if (ipi === null) return;
  if (engine.text) {
    out.str('  [vla] ');
    engine.who(v.domain.id, v.id);
    out.str(' vec ');
    out.d(vector);
    out.str(' injecting\n');
  }
  ipi.injected = true;
}

function w2h(engine: Engine, v: Vcpu, what: string, vector: number): void {
  const out = engine.out;
  out.str(' [w2h] ');
  engine.who(v.domain.id, v.id);
  out.str(what);
  out.d(vector);
  out.byte(10);
}

/** The guest runs again: injections become visible to it now. */
export function interruptsAtEntry(engine: Engine, v: Vcpu, h: HvmState, tsc: number): void {
  const out = engine.out;
  if (v.ipisOutstanding) entryIpis(engine, v, tsc);
  if (h.waking && engine.text) {
    out.str(' [w2h] ');
    engine.who(v.domain.id, v.id);
    out.str(' Finishing waking\n');
  }
  h.waking = false;
  if (h.interruptsWantingTsc === 0) return;
  for (const vector of h.vectors) {
    const interrupt = h.guestInterrupts[vector]!;
    if (interrupt.startTsc !== 1) continue;
    if (engine.text) {
      out.reserve();
      w2h(engine, v, ' Setting vec ', vector);
      out.length--;
      out.str(` tsc to ${tscText(engine.merge, tsc)}\n`);
    }
    interrupt.startTsc = tsc;
    if (--h.interruptsWantingTsc === 0) break;
  }
}

function entryIpis(engine: Engine, v: Vcpu, tsc: number): void {
  const out = engine.out;
  let waiting = false;
  for (const ipi of v.ipis) {
    if (!(ipi.valid && ipi.injected)) {
      if (ipi.valid) waiting = true;
      continue;
    }
    if (tsc < ipi.firstTsc) {
      engine.warn(
        `Strange, vec ${ipi.vector} first_tsc ${tscText(engine.merge, ipi.firstTsc)} > ri->tsc ${tscText(engine.merge, tsc)}!\n`,
      );
    }
    if (engine.text && ipi.count > 1) {
      const latency = tsc >= ipi.firstTsc ? tsc - ipi.firstTsc : 0;
      out.str(` [vla] d${v.domain.id}v${v.id} vec ${ipi.vector} ipis ${ipi.count}, latency ${latency} (`);
      // xenalyze takes the latency for a point in time: the first TSC is subtracted from it.
      const ns = engine.options.exact ? wrappedTime(engine, latency) : BigInt(engine.scale.ns(latency));
      out.str(`${(ns / 1_000_000_000n) % 0x100000000n}.${String(ns % 1_000_000_000n).padStart(9, '0')} s)\n`);
    }
    clearIpi(ipi);
  }
  v.ipisOutstanding = waiting;
}

/** cycles_to_time of xenalyze: unsigned 64-bit arithmetic that wraps below the first TSC. */
function wrappedTime(engine: Engine, ticks: number): bigint {
  const qhz = BigInt(Math.floor((engine.options.cpuHz * 1024) / 1_000_000_000));
  const first = (BigInt(engine.merge.tscBaseHigh) << 32n) + BigInt(engine.firstTsc);
  return BigInt.asUintN(64, (BigInt(ticks) - first) << 10n) / qhz;
}

/** The vCPU halts: close the time since each interrupt. */
export function haltInterrupts(engine: Engine, h: HvmState, tsc: number): void {
  const out = engine.out;
  for (const vector of h.vectors) {
    const interrupt = h.guestInterrupts[vector]!;
    if (interrupt.startTsc === 0) continue;
    const time = interrupt.startTsc === 1 ? 0 : tsc - interrupt.startTsc;
    if (engine.text) {
      out.reserve();
      out.str(` [w2h] Halting vec ${vector} is_wake ${interrupt.isWake ? 1 : 0} time ${time}\n`);
    }
    if (engine.options.summary && time !== 0) {
      if (interrupt.isWake) {
        if (h.interrupts === 1) interrupt.runtime[0].add(time);
        interrupt.runtime[1].add(time);
      } else {
        interrupt.runtime[2].add(time);
      }
    }
    interrupt.startTsc = 0;
    interrupt.isWake = false;
  }
  h.interrupts = 0;
  h.wakeVector = 0;
}

const SHORTHANDS = ['dest_field', 'self', 'all-inc', 'all-exc'] as const;
const ICR_LOW = 0xfee00300 | 0;
const EOI = 0xfee000b0 | 0;

/** An access to the local APIC page. */
export function vlapicAccess(engine: Engine, v: Vcpu, h: HvmState): void {
  if (h.mmioGpaHigh !== 0) return;
  const out = engine.out;
  if (h.mmioGpaLow === EOI) {
    if (engine.text) vla(engine, v, ' eoi\n');
  } else if (h.mmioGpaLow === ICR_LOW) {
    const icr = h.mmioData;
    if (!h.mmioIsWrite) {
      if (engine.text) vla(engine, v, (icr & 0x1000) !== 0 ? ' icr status pending\n' : ' icr status idle\n');
      return;
    }
    const shorthand = (icr >>> 18) & 3;
    if (engine.text) {
      vla(engine, v, ' icr vec ');
      out.u(icr & 0xff);
      out.byte(32);
      out.str(SHORTHANDS[shorthand]!);
      out.byte(10);
    }
    if (shorthand !== 3) return;
    for (const other of v.domain.vcpus) {
      if (other !== undefined && other !== v) ipiSend(engine, other, icr & 0xff);
    }
  }
}

function vla(engine: Engine, v: Vcpu, what: string): void {
  engine.out.str('              [vla] ');
  engine.who(v.domain.id, v.id);
  engine.out.str(what);
}

function ipiSend(engine: Engine, v: Vcpu, vector: number): void {
  if (v.runstate === LOST) {
    if (engine.options.dump) engine.warn(`ipi_send: v${v.id} in state RUNSTATE_LOST, not counting ipi\n`);
    return;
  }
  const ipi = v.ipi(vector);
  if (ipi === null) {
    engine.warn("ipi_send: Couldn't find an open slot!\n");
    return;
  }
  if (ipi.firstTsc === 0) ipi.firstTsc = engine.now;
  const out = engine.out;
  if (engine.text && ipi.count === 0 && ipi.injected) {
    out.reserve();
    out.str(' [vla] Pre-injection\n');
  }
  ipi.count++;
  if (engine.text) {
    out.reserve();
    out.str(
      ` [vla] d${v.domain.id}v${v.id} vec ${ipi.vector} state ${runstateName(v.runstate)} (outstanding ipis ${ipi.count})\n`,
    );
  }
}
