import {
  POST_CR_WRITE,
  POST_GENERIC,
  POST_IO_READ,
  POST_IO_WRITE,
  POST_MMIO,
  POST_MSR_READ,
  POST_MSR_WRITE,
  POST_NONE,
  POST_PF_XEN,
  POST_VMCALL,
} from './domains.ts';
import type { HvmState, TracedPcpu, Vcpu } from './domains.ts';
import { describe } from './describe.ts';
import { ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import { HANDLER_MAX, HYPERCALL_MAX } from './hvm-exit.ts';
import { injVirqProcess, vlapicAccess } from './interrupts.ts';
import { pfXenProcess } from './shadow.ts';
import {
  TRC_64_FLAG,
  TRC_HVM_CR_WRITE,
  TRC_HVM_CR_WRITE64,
  TRC_HVM_HANDLER,
  TRC_HVM_INJ_EXC,
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_INTR,
  TRC_HVM_INTR_WINDOW,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_IOPORT_READ,
  TRC_HVM_IOPORT_WRITE,
  TRC_HVM_MSR_READ,
  TRC_HVM_MSR_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_PF_INJECT,
  TRC_HVM_PF_INJECT64,
  TRC_HVM_PF_XEN,
  TRC_HVM_PF_XEN64,
  TRC_HVM_RDTSC,
  TRC_HVM_REINJ_VIRQ,
  TRC_HVM_VMMCALL,
  TRC_HVM_WRITE_FLAG,
} from '../events.ts';
import { hypercallName } from '../records/hypercalls.ts';

/** TRC_HVM_HANDLER records: what Xen did between an exit and the next entry. */

export const HANDLER_NAMES: readonly (string | undefined)[] = [
  '(no handler)',
  'pf_xen',
  'pf_inject',
  'inj_exc',
  'inj_virq',
  'reinj_virq',
  'io_read',
  'io_write',
  'cr_read',
  'cr_write',
  'dr_read',
  'dr_write',
  'msr_read',
  'msr_write',
  'cpuid',
  'intr',
  'nmi',
  'smi',
  'vmcall',
  'hlt',
  'invlpg',
  'mce',
  'io_assist',
  'mmio_assist',
  'clts',
  'lmsw',
  'rdtsc',
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  'intr_window',
  'npf',
  'realmode_emulate',
  'trap',
  'trap_debug',
  'vlapic',
];

const TRAP_NAMES = [
  'Divide',
  'RESERVED',
  'NMI',
  'Breakpoint',
  'Overflow',
  'BOUND',
  'Invalid Op',
  'Coprocessor not present',
  'Double Fault',
  'Coprocessor segment overrun',
  'TSS',
  'Segment not present',
  'Stack-segment fault',
  'GP',
  'Page fault',
  'RESERVED',
  'FPU',
  'Alignment check',
  'Machine check',
  'SIMD',
] as const;

/** Vectors of Xen's own interrupts, as xenalyze knows them. */
export const EXTERNAL_VECTOR_NAMES: Readonly<Record<number, string>> = {
  255: 'SPURIOS_APIC',
  254: 'ERROR_APIC',
  253: 'INVALIDATE_TLB',
  252: 'EVENT_CHECK',
  251: 'CALL_FUNCTION',
  250: 'THERMAL_APIC',
  249: 'LOCAL_TIMER',
};
const EXTERNAL_VECTOR_MAX = 256;

const INTERRUPT_SOURCES = ['none', 'pic', 'lapic', 'nmi', 'mce', 'vector'] as const;
/** A record of xenalyze's own past that nothing in Xen writes. */
const TRC_HVM_OP_DESTROY_PROC = TRC_HVM_HANDLER + 0x100;

/** What is to be done when the exit ends; a warning if something else already is. */
function setPostProcess(engine: Engine, h: HvmState, what: number, caller: string): void {
  if (h.postProcess === POST_NONE || h.postProcess === POST_GENERIC) h.postProcess = what;
  else if (caller !== '') engine.warn(`${caller}: Strange, postprocess already set\n`);
}

export function handlerProcess(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): void {
  switch (p.event) {
    case TRC_HVM_PF_INJECT:
    case TRC_HVM_PF_INJECT64:
      if (engine.text) pfInject(engine, p);
      return;
    case TRC_HVM_REINJ_VIRQ:
      if (engine.text) {
        const out = engine.shortLine(p);
        out.str(' inj_virq vec ');
        out.u(p.words[p.data]! >>> 0);
        out.byte(10);
      }
      return;
    case TRC_HVM_INJ_EXC:
      if (engine.text) injExc(engine, p);
      return;
    case TRC_HVM_INJ_VIRQ:
      injVirqProcess(engine, p, v, h);
      return;
    case TRC_HVM_INTR_WINDOW:
      if (engine.text) intrWindow(engine, p);
      return;
    case TRC_HVM_OP_DESTROY_PROC:
      if (engine.text) {
        const out = engine.shortLine(p);
        out.str(' destroy_proc cur_cr3 ');
        out.x64(h.cr3Low, h.cr3High);
        out.byte(10);
      }
      return;
    default:
  }
  if (!h.vmexitValid) {
    if (engine.text) handlerDump(engine, p, 33);
    return;
  }
  h.eventHandler = p.event - TRC_HVM_HANDLER;
  switch (p.event) {
    case TRC_HVM_INTR:
      if (p.extra === 0 && !engine.options.svm && !engine.options.exact) {
        if (engine.text) handlerDump(engine, p, 93);
        return;
      }
      intr(engine, p, h);
      return;
    case TRC_HVM_PF_XEN:
    case TRC_HVM_PF_XEN64:
      if (pfXenProcess(engine, p, v, h)) setPostProcess(engine, h, POST_PF_XEN, 'hvm_pf_xen_process');
      return;
    case TRC_HVM_IOPORT_READ:
    case TRC_HVM_IOPORT_WRITE:
      portIo(engine, p, h);
      return;
    case TRC_HVM_IOMEM_READ:
    case TRC_HVM_IOMEM_WRITE:
    case TRC_HVM_IOMEM_READ | TRC_64_FLAG:
    case TRC_HVM_IOMEM_WRITE | TRC_64_FLAG:
      mmio(engine, p, v, h);
      return;
    case TRC_HVM_CR_WRITE:
    case TRC_HVM_CR_WRITE64:
      crWrite(engine, p, h);
      return;
    case TRC_HVM_MSR_WRITE:
      msr(engine, p, h, 'msr_write', POST_MSR_WRITE);
      return;
    case TRC_HVM_MSR_READ:
      msr(engine, p, h, 'msr_read', POST_MSR_READ);
      return;
    case TRC_HVM_VMMCALL:
      vmmcall(engine, p, h);
      return;
    case TRC_HVM_NPF:
      if (engine.text) npf(engine, p);
      if (engine.options.summary) genericInflight(engine, p, h);
      return;
    case TRC_HVM_RDTSC:
      rdtsc(engine, p, h);
      return;
    default:
      if (engine.text) handlerDump(engine, p, 93);
      if (engine.options.summary) genericInflight(engine, p, h);
  }
}

/** Keep the record for the end of the exit. */
function genericInflight(engine: Engine, p: TracedPcpu, h: HvmState): void {
  if (h.postProcess !== POST_GENERIC && engine.options.exact)
    engine.warn('hvm_generic_postprocess_init: Strange, h->postprocess set!\n');
  h.inflight[0] = p.event;
  const known = engine.options.exact ? 4 : Math.min(4, p.extra);
  for (let i = 0; i < 4; i++) h.inflight[1 + i] = i < known ? p.words[p.data + i]! : 0;
}

/** A handler record as numbers; `prefix` is '!' while no exit is known. */
function handlerDump(engine: Engine, p: TracedPcpu, prefix: number): void {
  if (
    !engine.options.exact &&
    (p.event & TRC_HVM_WRITE_FLAG) === 0 &&
    HANDLER_NAMES[(p.event - TRC_HVM_HANDLER) & ~TRC_64_FLAG] === undefined &&
    describe(engine, p)
  )
    return;
  const out = engine.line(prefix);
  const wide = (p.event & TRC_64_FLAG) !== 0;
  const number = (p.event - TRC_HVM_HANDLER) & ~TRC_64_FLAG;
  out.byte(32);
  if (number < HANDLER_MAX) {
    out.str(HANDLER_NAMES[number] ?? '(null)');
  } else {
    out.str('hvm_handler ');
    out.u(number);
  }
  out.str(wide ? '64 [' : ' [');
  for (let i = 0; i < p.extra; i++) {
    out.byte(32);
    out.x(p.words[p.data + i]!);
  }
  out.str(' ]\n');
}

function pfInject(engine: Engine, p: TracedPcpu): void {
  const out = engine.shortLine(p);
  const wide = (p.event & TRC_64_FLAG) !== 0;
  out.str(wide ? ' pf_inject64 guest_cr2 ' : ' pf_inject guest_cr2 ');
  out.x64(p.words[p.data + 1]!, wide ? p.words[p.data + 2]! : 0);
  out.str('  guest_ec ');
  out.x(p.words[p.data]!);
  out.byte(10);
}

function injExc(engine: Engine, p: TracedPcpu): void {
  const out = engine.shortLine(p);
  const vector = p.words[p.data]! >>> 0;
  out.str(' inj_exc trap ');
  const name = TRAP_NAMES[vector];
  if (name !== undefined) out.str(name);
  else out.u(vector);
  out.str(' ec ');
  out.x(p.words[p.data + 1]!);
  out.byte(10);
}

function intrWindow(engine: Engine, p: TracedPcpu): void {
  const out = engine.line(32);
  const source = p.words[p.data + 1]! >>> 0;
  const pending = p.words[p.data + 2]!;
  out.str(' intr_window vec ');
  out.u(p.words[p.data]! >>> 0);
  out.str(' src ');
  out.u(source);
  out.byte(40);
  out.str(INTERRUPT_SOURCES[source] ?? '?');
  out.str(') intr ');
  if (pending > 0) out.x(pending);
  else out.byte(35);
  out.byte(10);
}

function intr(engine: Engine, p: TracedPcpu, h: HvmState): void {
  // SVM takes the interrupt after the record is written; there is no vector in it.
  const vector = engine.options.svm ? 0 : p.words[p.data]! >>> 0;
  const top = h.ripHigh >> 16;
  if (top !== 0 && top !== -1) engine.error(ERR_RECORD, null);
  h.inflight[0] = vector;
  if (engine.text) {
    const out = engine.line(32);
    out.str(' intr vec ');
    const name = EXTERNAL_VECTOR_NAMES[vector];
    if (name !== undefined) {
      out.str(name);
      out.byte(40);
      out.x(vector);
      out.str(')\n');
    } else {
      out.x(vector);
      out.byte(10);
    }
  }
  h.postProcess = POST_NONE;
  if (engine.options.summary) {
    const place = Math.min(vector, EXTERNAL_VECTOR_MAX);
    h.externalInterrupts[place] = (h.externalInterrupts[place] ?? 0) + 1;
  }
}

function portIo(engine: Engine, p: TracedPcpu, h: HvmState): void {
  const port = p.words[p.data]!;
  // The data of a request that holds a pointer is not recorded.
  const hasData = p.extra >= 2 || engine.options.exact;
  const value = hasData ? p.words[p.data + 1]! : 0;
  const write = (p.event & TRC_HVM_WRITE_FLAG) !== 0;
  h.inflight[0] = (port & 0x7fffffff) | (write ? 0x80000000 : 0);
  h.inflight[1] = value;
  setPostProcess(engine, h, write ? POST_IO_WRITE : POST_IO_READ, 'hvm_io_assist_process');
  if (!engine.text) return;
  const out = engine.line(32);
  out.str(write ? ' io write port ' : ' io read port ');
  out.x(port);
  if (hasData) {
    out.str(' val ');
    out.x(value);
    out.byte(10);
  } else out.str(' (no data)\n');
}

function mmio(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): void {
  const words = p.words;
  const d = p.data;
  const write = (p.event & TRC_HVM_WRITE_FLAG) !== 0;
  h.mmioGpaLow = words[d]!;
  if ((p.event & TRC_64_FLAG) !== 0) {
    h.mmioGpaHigh = words[d + 1]!;
    h.mmioData = words[d + 2]!;
    // Up to Xen 4.11 the data is one word; xenalyze wants two.
    if (p.extra === 4 || (p.extra === 3 && !engine.options.exact)) h.mmioDataValid = true;
  } else {
    h.mmioGpaHigh = 0;
    h.mmioData = words[d + 1]!;
    if (p.extra === 2) h.mmioDataValid = true;
  }
  h.mmioIsWrite = write;
  if (engine.text) {
    const out = engine.line(93);
    out.str(write ? ' mmio_assist w gpa ' : ' mmio_assist r gpa ');
    out.x64(h.mmioGpaLow, h.mmioGpaHigh);
    if (h.mmioDataValid) {
      out.str(' data ');
      if (!engine.options.exact && p.extra === 4) out.x64(words[d + 2]!, words[d + 3]!);
      else out.x(h.mmioData);
      out.byte(10);
    } else {
      out.str(' (no data)\n');
    }
  }
  if (((h.mmioGpaLow & 0xfffff000) | 0) === (0xfee00000 | 0)) vlapicAccess(engine, v, h);
  setPostProcess(engine, h, POST_MMIO, '');
}

function crWrite(engine: Engine, p: TracedPcpu, h: HvmState): void {
  const cr = p.words[p.data]!;
  const low = p.words[p.data + 1]!;
  const high = (p.event & TRC_64_FLAG) !== 0 ? p.words[p.data + 2]! : 0;
  h.inflight[0] = cr;
  h.inflight[2] = low;
  h.inflight[3] = high;
  if (h.postProcess === POST_NONE || h.postProcess === POST_GENERIC) h.postProcess = POST_CR_WRITE;
  else engine.warn('hvm_cr_write_process: Strange, h->postprocess already set!\n');
  if (!engine.text) return;
  if (cr === 3 && (h.cr3Low !== 0 || h.cr3High !== 0)) {
    const out = engine.line(93);
    out.str(' cr_write cr3 val ');
    out.x64(low, high);
    out.str(' oval ');
    out.x64(h.cr3Low, h.cr3High);
    out.str(h.cr3Low === low && h.cr3High === high ? ' flush\n' : ' switch\n');
  } else {
    const out = engine.line(32);
    out.str(' cr_write cr');
    out.d(cr);
    out.str(' val ');
    out.x64(low, high);
    out.byte(10);
  }
}

function msr(engine: Engine, p: TracedPcpu, h: HvmState, name: 'msr_read' | 'msr_write', post: number): void {
  if (p.extra !== 3 && engine.wrongSize(p, 3, name)) return;
  h.inflight[0] = p.words[p.data]!;
  h.inflight[2] = p.words[p.data + 1]!;
  h.inflight[3] = p.words[p.data + 2]!;
  if (engine.text) {
    const out = engine.line(32);
    out.byte(32);
    out.str(name);
    out.str(' addr ');
    out.x(p.words[p.data]!);
    out.str(' val ');
    out.x64(p.words[p.data + 1]!, p.words[p.data + 2]!);
    out.byte(10);
  }
  setPostProcess(engine, h, post, `hvm_${name}_process`);
}

function vmmcall(engine: Engine, p: TracedPcpu, h: HvmState): void {
  const eax = p.words[p.data]!;
  if (engine.text) {
    const out = engine.line(32);
    out.str(' vmcall ');
    out.xPadded(eax, 2);
    const op = eax >>> 0;
    const name = op < HYPERCALL_MAX || !engine.options.exact ? hypercallName(op) : null;
    if (name !== null || op < HYPERCALL_MAX) {
      out.str(' (');
      out.str(name ?? '(null)');
      out.byte(41);
    }
    out.byte(10);
  }
  h.inflight[0] = eax;
  setPostProcess(engine, h, POST_VMCALL, 'hvm_vmcall_process');
}

function npf(engine: Engine, p: TracedPcpu): void {
  const out = engine.line(32);
  const words = p.words;
  const d = p.data;
  out.str(' npf gpa ');
  out.x64(words[d]!, words[d + 1]!);
  out.str(' q ');
  out.x(words[d + 4]!);
  out.str(' mfn ');
  out.x64(words[d + 2]!, words[d + 3]!);
  out.str(' t ');
  out.d(words[d + 5]!);
  out.byte(10);
}

function rdtsc(engine: Engine, p: TracedPcpu, h: HvmState): void {
  const low = p.words[p.data]!;
  const high = p.words[p.data + 1]!;
  if (engine.text) {
    const out = engine.line(32);
    out.str(' rdtsc ');
    out.x64(low, high);
    out.byte(32);
    out.d64(low, high);
    const back = h.lastRdtscHigh >>> 0 > high >>> 0 || (h.lastRdtscHigh === high && h.lastRdtscLow >>> 0 > low >>> 0);
    out.str(back ? ' BACKWARDS\n' : ' \n');
  }
  h.lastRdtscLow = low;
  h.lastRdtscHigh = high;
}
