import {
  POST_CR_WRITE,
  POST_GENERIC,
  POST_IO_READ,
  POST_IO_WRITE,
  POST_MMIO,
  POST_NONE,
  POST_PF_XEN,
  POST_SHADOW_EMULATE,
  POST_SHADOW_FAULT,
  POST_SHADOW_FIXUP,
  POST_SHADOW_MMIO,
  POST_SHADOW_PROPAGATE,
  POST_VMCALL,
} from './domains.ts';
import type { HvmState, Vcpu } from './domains.ts';
import { ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import type { Transitions } from '../follow/transitions.ts';
import { address, enumerateMmio } from './io-addresses.ts';
import { shadowPostProcess } from './shadow.ts';
import { TRC_64_FLAG, TRC_HVM_HANDLER, TRC_HVM_WRITE_FLAG } from '../events.ts';

/** Handler numbers below this have a place in the summary. */
export const HANDLER_MAX = 0x26;
/** Control registers whose writes are counted. */
const CR_MAX = 9;
const RESYNCS_MAX = 17;
/** Hypercalls xenalyze 4.17 has a place for. */
export const HYPERCALL_MAX = 38;

/** How an MMIO access left the guest. */
const MMIO_APIC = 0;
const MMIO_NPF = 1;
const MMIO_UNKNOWN = 2;

const EXIT_PENDING_INTERRUPT = 7;
const EXIT_TPR_BELOW_THRESHOLD = 43;
const EXIT_APIC_ACCESS = 44;
const EXIT_EPT_VIOLATION = 48;
const EXIT_WBINVD = 54;
const VMEXIT_NPF = 1024;

/** The exit in progress ends at `tsc`: by VMENTRY, or because what the vCPU waited for happened. */
export function closeVmexit(engine: Engine, v: Vcpu, h: HvmState, tsc: number): void {
  if (h.exitTsc !== 0) {
    if (h.exitTsc > tsc) {
      h.arcCycles = 0;
    } else {
      h.arcCycles = tsc - h.exitTsc;
      if (engine.transitions !== null) told(engine, engine.transitions, v, h, tsc);
      if (engine.options.summary) {
        h.exits.add(h.exitReason, h.arcCycles);
        h.summaryInfo = true;
      }
    }
  }
  if (h.postProcess !== POST_NONE) postProcess(engine, v, h);
  h.exitTsc = 0;
  h.vmexitValid = false;
  h.postProcess = POST_NONE;
}

/** Tell that an exit is over, and what it was for. */
function told(engine: Engine, to: Transitions, v: Vcpu, h: HvmState, tsc: number): void {
  const pcpu = v.pcpu?.pid ?? -1;
  const { firstTsc } = engine;
  const start = h.exitTsc - firstTsc;
  const end = tsc - firstTsc;
  const dom = v.domain.id;
  to.exit(pcpu, dom, v.id, h.exitReason, h.ripLow, h.ripHigh, start, end);
  if (h.postProcess === POST_MMIO) {
    to.io(pcpu, dom, v.id, false, h.mmioIsWrite, h.mmioGpaLow, h.mmioGpaHigh, h.mmioData, start, end);
  } else if (h.postProcess === POST_IO_READ || h.postProcess === POST_IO_WRITE) {
    const write = h.postProcess === POST_IO_WRITE;
    to.io(pcpu, dom, v.id, true, write, h.inflight[0]! & 0x7fffffff, 0, h.inflight[1]!, start, end);
  } else if (h.postProcess === POST_VMCALL) {
    to.hypercall(pcpu, dom, v.id, h.inflight[0]! >>> 0, -1, -1, start, end - start);
  }
}

function postProcess(engine: Engine, v: Vcpu, h: HvmState): void {
  const summary = engine.options.summary;
  switch (h.postProcess) {
    case POST_GENERIC:
      generic(engine, h);
      break;
    case POST_MMIO:
      mmio(engine, h, summary);
      break;
    case POST_IO_READ:
      if (summary) address(h.pio, h.inflight[0]! & 0x7fffffff, 0).read.add(h.arcCycles);
      break;
    case POST_IO_WRITE:
      if (summary) address(h.pio, h.inflight[0]! & 0x7fffffff, 0).write.add(h.arcCycles);
      break;
    case POST_CR_WRITE:
      crWrite(engine, h, summary);
      break;
    case POST_VMCALL:
      if (summary) h.vmcalls.add(Math.min(h.inflight[0]! >>> 0, HYPERCALL_MAX), h.arcCycles);
      break;
    case POST_PF_XEN:
    case POST_SHADOW_EMULATE:
    case POST_SHADOW_FAULT:
    case POST_SHADOW_FIXUP:
    case POST_SHADOW_MMIO:
    case POST_SHADOW_PROPAGATE:
      shadowPostProcess(engine, v, h);
      break;
    default:
  }
}

function generic(engine: Engine, h: HvmState): void {
  const event = h.inflight[0]!;
  let handler = 0;
  if (event !== 0) {
    handler = (event - TRC_HVM_HANDLER) & ~(TRC_64_FLAG | TRC_HVM_WRITE_FLAG);
  } else {
    const reason = h.exitReason;
    if (
      !engine.options.svm &&
      (reason === EXIT_PENDING_INTERRUPT || reason === EXIT_TPR_BELOW_THRESHOLD || reason === EXIT_WBINVD)
    )
      return;
    if (engine.options.exact && engine.options.dump) warnMissing(engine, reason);
  }
  if (handler >= HANDLER_MAX || handler < 0) {
    if (engine.options.exact) {
      engine.warn(
        `hvm_generic_postprocess: invalid hvm event ${BigInt.asUintN(64, BigInt(handler)).toString(16)}(${(event >>> 0).toString(16)})\n`,
      );
      engine.error(ERR_RECORD, null);
    }
    return;
  }
  if (engine.options.summary) h.generic.add(handler, h.arcCycles);
}

function warnMissing(engine: Engine, reason: number): void {
  const key = `missing ${reason}`;
  if (engine.warnedOnce.has(key)) return;
  engine.warnedOnce.add(key);
  engine.warn(
    `hvm_generic_postprocess: Strange, exit ${reason.toString(16)}(${engine.options.exitName(reason) ?? '(null)'}) missing a handler\n`,
  );
}

function mmio(engine: Engine, h: HvmState, summary: boolean): void {
  let how = MMIO_UNKNOWN;
  switch (h.exitReason) {
    case VMEXIT_NPF:
    case EXIT_EPT_VIOLATION:
      how = MMIO_NPF;
      break;
    case EXIT_APIC_ACCESS:
      how = MMIO_APIC;
      break;
    default:
      engine.warnOnce(
        'mmio reason',
        `hvm_mmio_assist_postprocess: Strange, MMIO with unexpected exit reason ${h.exitReason | 0}\n`,
      );
  }
  if (!summary) return;
  h.mmio.add(how, h.arcCycles);
  enumerateMmio(h);
}

function crWrite(engine: Engine, h: HvmState, summary: boolean): void {
  const cr = h.inflight[0]! >>> 0;
  if (cr === 3) {
    const low = h.inflight[2]!;
    const high = h.inflight[3]!;
    if (summary) {
      h.cr3WriteResyncs.add(Math.min(h.resyncs, RESYNCS_MAX), h.arcCycles);
      h.crWrites.add(3, h.arcCycles);
    }
    h.cr3Low = low;
    h.cr3High = high;
  } else if (summary && cr < CR_MAX) {
    h.crWrites.add(cr, h.arcCycles);
  }
  if (cr > 15) engine.onWarning(`Unexpected cr: ${cr}\n`);
}
