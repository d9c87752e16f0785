import {
  DATA_HVM,
  DEFAULT_DOMAIN,
  IDLE_DOMAIN,
  INIT,
  LOST,
  QUEUED,
  RUNNABLE_INVALID,
  RUNNABLE_OTHER,
  RUNNABLE_PREEMPT,
  RUNNABLE_WAKE,
  runstateName,
} from './domains.ts';
import type { Domain, TracedPcpu, Vcpu } from './domains.ts';
import { ERR_ASSERT, ERR_FILE, ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import { closeVmexit } from './hvm-exit.ts';
import { haltInterrupts } from './interrupts.ts';
import { schedClassProcess } from './sched-class.ts';
import { schedVerboseProcess } from './sched-verbose.ts';
import { NotPlain, tscText } from '../format/feed.ts';
import { RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING } from '../events.ts';
import { MAX_CPUS } from '../writer.ts';

/** Account for the vCPU that ran on `p` until `tsc`. */
export function pcpuRunstateUpdate(engine: Engine, p: TracedPcpu, tsc: number): void {
  if (p.timeTsc === 0) return;
  if (!engine.options.summary) {
    // Figures grow with the trace.
  } else if (p.current!.domain.id === IDLE_DOMAIN) p.idle.add(tsc - p.timeTsc);
  else p.running.add(tsc - p.timeTsc);
  p.timeTsc = 0;
}

function domainRunstate(d: Domain): number {
  if (d.id === DEFAULT_DOMAIN) return 0;
  const n = d.inState;
  if (n[LOST] === d.vcpusKnown) return 6;
  const waiting = n[RUNSTATE_BLOCKED]! + n[RUNSTATE_OFFLINE]! > 0;
  if (n[RUNSTATE_RUNNING]! > 0) return n[RUNSTATE_RUNNABLE]! > 0 ? 4 : waiting ? 1 : 2;
  if (n[RUNSTATE_RUNNABLE]! > 0) return waiting ? 3 : 5;
  return 0;
}

/** `v` enters `state` at `tsc`: account for the one it leaves. */
function runstateUpdate(engine: Engine, v: Vcpu, state: number, tsc: number): void {
  const d = v.domain;
  const old = v.runstate;
  if (engine.options.summary && v.runstateTsc > 0 && v.runstateTsc < tsc) {
    v.runstates.add(old, tsc - v.runstateTsc);
    if (old === RUNSTATE_RUNNABLE) v.runnableStates.add(v.runnableState, tsc - v.runstateTsc);
  }
  if (engine.transitions !== null && v.runstateTsc > 0 && v.runstateTsc < tsc) {
    const cause = old === RUNSTATE_RUNNABLE ? v.runnableState : 0;
    const { firstTsc } = engine;
    engine.transitions.runstate(v.pcpu?.pid ?? -1, d.id, v.id, old, cause, state, v.runstateTsc - firstTsc, tsc - firstTsc);
  }
  if (state === RUNSTATE_RUNNABLE) {
    v.runnableState =
      old === RUNSTATE_RUNNING
        ? RUNNABLE_PREEMPT
        : old === RUNSTATE_BLOCKED || old === RUNSTATE_OFFLINE
          ? RUNNABLE_WAKE
          : RUNNABLE_OTHER;
  } else {
    v.runnableState = RUNNABLE_INVALID;
  }
  v.runstate = state;
  v.runstateTsc = tsc;
  if (old === INIT) d.vcpusKnown++;
  else d.inState[old]!--;
  d.inState[state]!++;
  if (engine.options.summary && d.runstateTsc > 0 && d.runstateTsc < tsc) d.runstates.add(d.runstate, tsc - d.runstateTsc);
  d.runstate = domainRunstate(d);
  d.runstateTsc = tsc;
}

/** `prev` stops running on `p`. */
export function vcpuPrevUpdate(engine: Engine, p: TracedPcpu, prev: Vcpu, tsc: number, state: number): void {
  if (prev.pcpu !== p) {
    engine.warn(`Strange, sched_switch on pcpu ${p.pid}, prev->pcpu ${prev.pcpu?.pid ?? -1}!\n`);
    prev.runstateTsc = 0;
  } else {
    if (p.current === null) {
      engine.warn('vcpu_prev_update: FATAL: p->current NULL!\n');
      engine.error(ERR_ASSERT, null);
    }
    if (p.current !== prev) {
      if (p.current !== null) {
        engine.warn(
          `Strange, sched_switch prev d${prev.domain.id}v${prev.id}, pcpu ${p.pid} current d${p.current.domain.id}v${p.current.id}!\n`,
        );
      }
      prev.runstateTsc = 0;
    } else if (prev.runstate !== RUNSTATE_RUNNING) {
      engine.warn(`Strange, prev d${prev.domain.id}v${prev.id} not running!\n`);
      prev.runstateTsc = 0;
    }
  }
  if (p.current !== null) pcpuRunstateUpdate(engine, p, tsc);
  p.current = null;
  engine.drawPcpu(p);
  runstateUpdate(engine, prev, state, tsc);
}

/** `next` starts running on `p`. */
export function vcpuNextUpdate(engine: Engine, p: TracedPcpu, next: Vcpu, tsc: number): void {
  const current = p.current;
  if (current !== null) {
    if (!p.seenValidSchedule) {
      engine.warn('vcpu_next_update: p->current non-NULL, but seen_valid_schedule 0.  Ignoring.\n');
      runstateUpdate(engine, current, LOST, tsc);
      p.current = null;
    } else {
      engine.warn(
        `vcpu_next_update: FATAL: p->current not NULL! (d${current.domain.id}v${current.id}, runstate ${runstateName(current.runstate)})\n`,
      );
      engine.error(ERR_ASSERT, null);
      runstateUpdate(engine, current, LOST, tsc);
    }
  }
  if (next.activated) {
    if (next.runstate === RUNSTATE_RUNNING && next.domain.id !== DEFAULT_DOMAIN) {
      engine.warn(`Strange, next d${next.domain.id}v${next.id} already running on proc ${next.pcpu?.pid ?? -1}!\n`);
      next.runstateTsc = 0;
    }
    if (next.pcpu !== p) {
      if (engine.options.summary && next.pcpuTsc !== 0) {
        next.affinityAll.add(tsc - next.pcpuTsc);
        next.affinity.add(p.pid, tsc - next.pcpuTsc);
      }
      next.pcpuTsc = tsc;
    }
  } else {
    next.guestPagingLevels = 2;
    next.activated = true;
    next.pcpuTsc = tsc;
  }
  runstateUpdate(engine, next, RUNSTATE_RUNNING, tsc);
  next.pcpu = p;
  p.current = next;
  engine.drawPcpu(p);
  p.timeTsc = tsc;
  p.seenValidSchedule = true;
}

/** First record of a vCPU: it leaves INIT only when it is seen to run somewhere. */
function vcpuStart(engine: Engine, p: TracedPcpu, v: Vcpu, old: number, state: number, recordTsc: number): void {
  if (old === RUNSTATE_RUNNING) {
    if (p.current === null || p.current.domain.id !== DEFAULT_DOMAIN) {
      engine.error(ERR_FILE, null);
      return;
    }
    if (p.firstTsc === 0) engine.error(ERR_FILE, null);
    if (p.firstTsc <= p.current.runstateTsc) engine.error(ERR_FILE, null);
    runstateUpdate(engine, p.current, QUEUED, p.firstTsc);
    p.current = null;
  }
  if (state !== RUNSTATE_RUNNING) {
    engine.warn(`First schedule for d${v.domain.id}v${v.id} doesn't take us into a running state; leaving INIT\n`);
    return;
  }
  let tsc = recordTsc;
  if (old === RUNSTATE_RUNNING) {
    engine.warn(`Using first_tsc for d${v.domain.id}v${v.id} (${p.lastTsc - p.firstTsc} cycles)\n`);
    tsc = p.firstTsc;
  }
  runstateUpdate(engine, v, RUNSTATE_RUNNING, tsc);
  p.timeTsc = tsc;
  p.current = v;
  engine.drawPcpu(p);
  v.pcpu = p;
}

/** Nothing is known about `v` from `tsc` on. */
export function loseVcpu(engine: Engine, v: Vcpu, tsc: number): void {
  const hvm = v.dataType === DATA_HVM ? v.hvm! : null;
  if (hvm !== null) hvm.vmexitValid = false;
  runstateUpdate(engine, v, LOST, tsc);
  v.clearIpis();
  if (hvm === null) return;
  const out = engine.out;
  if (engine.text) {
    out.reserve();
    out.str(' [w2h] Clearing w2h state for ');
    engine.who(v.domain.id, v.id);
    out.byte(10);
  }
  hvm.interrupts = 0;
  hvm.wakeVector = 0;
  hvm.waking = false;
  for (const vector of hvm.vectors) {
    const interrupt = hvm.guestInterrupts[vector]!;
    if (engine.text && interrupt.startTsc !== 0) {
      out.reserve();
      out.str(`  Interrupt ${vector} clearing start_tsc ${tscText(engine.merge, interrupt.startTsc)}\n`);
    }
    interrupt.startTsc = 0;
  }
}

/** xenalyze keeps 32 CPUs in such a mask. */
const cpuBit = (pid: number): number => (pid < 32 ? 1 << pid : 0);

function dumpRunstate(engine: Engine, p: TracedPcpu, change: boolean, old: number, state: number): void {
  const out = engine.line(32);
  const words = p.words;
  const d = p.data;
  out.str(change ? ' runstate_change ' : ' runstate_continue ');
  if (p.extra === 5) {
    out.byte(123);
    out.d64(words[d + 1]!, words[d + 2]!);
    out.byte(44);
    out.d64(words[d + 3]!, words[d + 4]!);
    out.str('} ');
  }
  engine.who(words[d]! >>> 16, words[d]! & 0xffff);
  out.byte(32);
  out.str(runstateName(old));
  out.str('->');
  out.str(runstateName(state));
  out.byte(10);
}

function runstateProcess(engine: Engine, p: TracedPcpu): void {
  const event = p.event;
  const type = event & 15;
  if (type !== 1 && type !== 2) {
    engine.warn(`FATAL: Unexpected runstate change type ${type}!\n`);
    engine.error(ERR_RECORD, engine.options.exact ? null : p);
    return;
  }
  const change = type === 1;
  const state = change ? (event >>> 4) & 15 : RUNSTATE_RUNNING;
  const old = change ? (event >>> 8) & 15 : RUNSTATE_RUNNING;
  const dom = p.words[p.data]! >>> 16;
  const id = p.words[p.data]! & 0xffff;
  if (engine.text) dumpRunstate(engine, p, change, old, state);
  if (
    change &&
    ((state === RUNSTATE_RUNNING && old !== RUNSTATE_RUNNABLE) || (state === RUNSTATE_BLOCKED && old === RUNSTATE_RUNNABLE))
  ) {
    engine.warn(`Strange, d${dom}v${id} unexpected runstate transition ${runstateName(old)}->${runstateName(state)}\n`);
  }
  if (id > MAX_CPUS) {
    engine.warn(`sched_runstate_process: vcpu ${id} > MAX_VCPUS ${MAX_CPUS}!\n`);
    return;
  }
  if (!engine.options.exact && (old > RUNSTATE_OFFLINE || state > RUNSTATE_OFFLINE)) {
    engine.error(ERR_RECORD, p);
    return;
  }
  const v = engine.vcpu(dom, id);
  const tsc = p.tsc;
  const lastWrong = v.wrongOldState;
  v.wrongOldState = INIT;
  if (v.runstate === INIT) {
    vcpuStart(engine, p, v, old, state, tsc);
    return;
  }
  const hvm = v.dataType === DATA_HVM ? v.hvm! : null;
  if (state === RUNSTATE_RUNNABLE && hvm !== null && hvm.vmexitValid) closeVmexit(engine, v, hvm, tsc);
  if (hvm !== null && v.runstate !== LOST) {
    if (state === RUNSTATE_RUNNABLE && old === RUNSTATE_BLOCKED) {
      if (engine.text) {
        engine.out.str(' [w2h] ');
        engine.who(dom, id);
        engine.out.str(' Setting waking\n');
      }
      hvm.waking = true;
      hvm.wakingTsc = tsc;
    } else if (state !== RUNSTATE_RUNNING || old !== RUNSTATE_RUNNABLE) {
      if (hvm.waking && old === RUNSTATE_RUNNING && state !== RUNSTATE_OFFLINE) {
        if (old !== v.runstate) {
          engine.warn(
            `Strange, unexpected waking transition for d${dom}v${id}: ${runstateName(old)} -> ${runstateName(state)}\n`,
          );
        }
        hvm.waking = false;
      }
      if (state === RUNSTATE_BLOCKED && old === RUNSTATE_RUNNING && hvm.interrupts !== 0) haltInterrupts(engine, hvm, tsc);
    }
  }
  if (v.runstate !== old && !mismatch(engine, p, v, old, state, lastWrong, change)) return;
  applyRunstate(engine, p, v, old, state, change);
}

/**
 * A change from a state that `v` is not in: it may be lost, or another CPU's clock may be ahead.
 * @returns whether the change is to be applied
 */
function mismatch(
  engine: Engine,
  p: TracedPcpu,
  v: Vcpu,
  old: number,
  state: number,
  lastWrong: number,
  change: boolean,
): boolean {
  const merge = engine.merge;
  const tsc = p.tsc;
  if (v.runstate === LOST) {
    if (state === RUNSTATE_RUNNING) return true;
    if (engine.options.dump) {
      engine.warn(`sched_runstate_process: d${v.domain.id}v${v.id} in runstate lost, not updating to ${runstateName(state)}\n`);
    }
    return false;
  }
  if (lastWrong === state && v.wrongActual === old) {
    if (tsc < v.wrongTsc) {
      engine.warn(
        `WARNING: new tsc ${tscText(merge, tsc)} < detected runstate tsc ${tscText(merge, v.wrongTsc)}! Not updating\n`,
      );
      return false;
    }
    if (merge.remote) throw new NotPlain();
    const other = merge.pcpu(v.wrongPid);
    const lag = tsc - v.wrongTsc;
    const offset = other.skew;
    other.skewDownstream |= p.skewDownstream | cpuBit(p.pid);
    if ((other.skewDownstream & cpuBit(other.pid)) !== 0) {
      engine.warn('Tsc skew dependency loop detected!  Resetting...\n');
      merge.resetSkew();
      return false;
    }
    other.skew += lag * 2;
    engine.warn(
      `TSC skew detected p${p.pid}->p${other.pid}, ${lag} cycles. Changing p${other.pid} offset from ${offset} to ${other.skew}\n`,
    );
    return false;
  }
  engine.warn(
    `runstate_change old_runstate ${runstateName(old)}, d${v.domain.id}v${v.id} runstate ${runstateName(v.runstate)}.  Possible tsc skew.\n`,
  );
  v.wrongOldState = old;
  v.wrongActual = v.runstate;
  v.wrongTsc = tsc;
  v.wrongPid = p.pid;
  if (v.runstate === RUNSTATE_RUNNING) {
    engine.warn(' Not updating.\n');
    return false;
  }
  return change || engine.options.exact;
}

function applyRunstate(engine: Engine, p: TracedPcpu, v: Vcpu, old: number, state: number, change: boolean): void {
  const tsc = p.tsc;
  if (!change) {
    if (v.runstate === LOST) {
      engine.warn(`WARNING: continue with d${v.domain.id}v${v.id} in RUNSTATE_LOST.  Resetting current.\n`);
      if (p.current !== null) vcpuPrevUpdate(engine, p, p.current, tsc, LOST);
      vcpuNextUpdate(engine, p, v, tsc);
    } else if (v.runstate !== RUNSTATE_RUNNING) {
      engine.warn(`FATAL: sevt.old_runstate running, but d${v.domain.id}v${v.id} runstate ${runstateName(v.runstate)}!\n`);
      engine.error(ERR_FILE, null);
    } else if (v.pcpu !== p) {
      engine.warn(`FATAL: continue on p${p.pid}, but d${v.domain.id}v${v.id} p${v.pcpu?.pid ?? -1}!\n`);
      engine.error(ERR_FILE, null);
    }
    runstateUpdate(engine, v, RUNSTATE_RUNNING, tsc);
  } else if (old === RUNSTATE_RUNNING || v.runstate === RUNSTATE_RUNNING) {
    if (old === RUNSTATE_RUNNING) {
      if (v.runstate !== RUNSTATE_RUNNING && v.runstate !== LOST) {
        engine.warn(`FATAL: sevt.old_runstate running, but d${v.domain.id}v${v.id} runstate ${runstateName(v.runstate)}!\n`);
        engine.error(ERR_FILE, null);
      }
      vcpuPrevUpdate(engine, p, v, tsc, state);
    } else {
      vcpuPrevUpdate(engine, v.pcpu ?? p, v, tsc, state);
    }
    if (engine.lostCpus > 0 && v.domain.id !== IDLE_DOMAIN) {
      if (engine.options.dump) {
        engine.warn(
          `sched_runstate_process: ${engine.lostCpus} lost cpus, setting d${v.domain.id}v${v.id} runstate to RUNSTATE_LOST\n`,
        );
      }
      loseVcpu(engine, v, tsc);
    }
  } else if (state === RUNSTATE_RUNNING) {
    vcpuNextUpdate(engine, p, v, tsc);
  } else {
    runstateUpdate(engine, v, state, tsc);
  }
}

export function schedProcess(engine: Engine, p: TracedPcpu): void {
  switch ((p.event >>> 12) & 15) {
    case 1:
      runstateProcess(engine, p);
      break;
    case 8:
      schedVerboseProcess(engine, p);
      break;
    case 2:
      schedClassProcess(engine, p);
      break;
    case 15:
      engine.processGeneric(p);
      break;
    default:
      p.volume.schedVerbose += p.size;
      engine.processGeneric(p);
  }
}
