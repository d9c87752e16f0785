import { DATA_HVM, DATA_NONE, POST_GENERIC } from './domains.ts';
import type { HvmState, TracedPcpu, Vcpu } from './domains.ts';
import { describe } from './describe.ts';
import { ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import { closeVmexit } from './hvm-exit.ts';
import { handlerProcess } from './hvm-handlers.ts';
import { interruptsAtEntry } from './interrupts.ts';
import {
  TRC_64_FLAG,
  TRC_HVM_SVM_EXIT,
  TRC_HVM_SVM_EXIT64,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_HVM_VMEXIT64,
} from '../events.ts';
import { SVM_EXIT_REASONS_OF_XENALYZE, VMX_REASONS_OF_XENALYZE } from '../records/exit-reasons.ts';

/** HVM class records. */
export function hvmProcess(engine: Engine, p: TracedPcpu): void {
  const v = p.current!;
  if (v.dataType === DATA_NONE) engine.setDataType(v, DATA_HVM);
  const h = v.hvm!;
  const event = p.event;
  if ((event & 0xf000) === 0x2000) {
    p.volume.hvmHandler += p.size;
    handlerProcess(engine, p, v, h);
    return;
  }
  switch (event) {
    case TRC_HVM_VMEXIT:
    case TRC_HVM_VMEXIT64:
      p.volume.hvmExit += p.size;
      vmexit(engine, p, v, h);
      return;
    case TRC_HVM_VMENTRY:
      p.volume.hvmEntry += p.size;
      vmentry(engine, p, v, h);
      return;
    case TRC_HVM_SVM_EXIT:
    case TRC_HVM_SVM_EXIT64:
      // xenalyze 4.17 does not know the exits of 4.19.
      if (!engine.options.exact) {
        p.volume.hvmExit += p.size;
        vmexit(engine, p, v, h);
        return;
      }
      break;
    default:
  }
  if (engine.options.exact) engine.warn(`Unknown hvm event: ${event.toString(16)}\n`);
  else if (engine.text && !describe(engine, p)) engine.generic(p);
}

function vmexit(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): void {
  const wide = (p.event & TRC_64_FLAG) !== 0;
  if (p.extra !== (wide ? 3 : 2) && engine.wrongSize(p, wide ? 3 : 2, 'vmexit')) return;
  h.vmexitValid = true;
  // A call of fill() costs more than these.
  const inflight = h.inflight;
  inflight[0] = inflight[1] = inflight[2] = inflight[3] = inflight[4] = 0;
  h.mmioGpaLow = h.mmioGpaHigh = h.mmioVa = h.mmioData = 0;
  h.mmioDataValid = h.mmioIsWrite = false;
  const words = p.words;
  const d = p.data;
  const reason = words[d]! >>> 0;
  h.ripLow = words[d + 1]!;
  if (wide) {
    v.guestPagingLevels = 4;
    h.ripHigh = words[d + 2]!;
    const top = h.ripHigh >> 15;
    if (top !== 0 && top !== -1) {
      engine.warn(
        `hvm_vmexit_process: invalid va ${(h.ripHigh >>> 0).toString(16)}${(h.ripLow >>> 0).toString(16).padStart(8, '0')}\n`,
      );
    }
  } else {
    if (v.guestPagingLevels === 4) v.guestPagingLevels = 2;
    h.ripHigh = 0;
  }
  h.exitReason = reason;
  const exact = engine.options.exact;
  if (exact) {
    const max = engine.options.svm ? SVM_EXIT_REASONS_OF_XENALYZE.length : VMX_REASONS_OF_XENALYZE;
    if (reason > max) {
      engine.warn(`h->exit_reason ${reason.toString(16)} > exit_reason_max ${max.toString(16)}!\n`);
      engine.error(ERR_RECORD, p);
      return;
    }
  }
  if (engine.text) {
    const out = engine.line(93);
    out.str(' vmexit exit_reason ');
    const name = engine.options.exitName(reason);
    if (name !== null) out.str(name);
    else out.x(reason);
    out.str(' eip ');
    out.x64(h.ripLow, h.ripHigh);
    out.byte(10);
  }
  h.exitTsc = p.tsc;
  h.entryTsc = 0;
  h.resyncs = 0;
  h.preallocUnpin = false;
  h.wrmapBruteForce = false;
  h.postProcess = POST_GENERIC;
}

function vmentry(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): void {
  interruptsAtEntry(engine, v, h, p.tsc);
  if (!h.vmexitValid) {
    if (engine.text) engine.line(33).str(' vmentry\n');
    return;
  }
  if (engine.text) {
    const out = engine.line(93);
    const cycles = p.tsc - h.exitTsc;
    out.str(' vmentry cycles ');
    out.d(cycles);
    // Unsigned in xenalyze: a negative count is a large one.
    out.str(cycles > 10000 || cycles < 0 ? ' !\n' : ' \n');
  }
  closeVmexit(engine, v, h, p.tsc);
  h.entryTsc = p.tsc;
}
