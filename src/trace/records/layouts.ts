import * as event from '../events.ts';

/**
 * Layouts of the records that have no form of their own in decode.ts, one row each: event, name, fields. Sources:
 * the places in Xen that write the records (4.4 to 4.22) and tools/xentrace/formats.
 */
export type RecordClass = 'gen' | 'sched' | 'dom0op' | 'hvm' | 'mem' | 'pv' | 'shadow' | 'hw' | 'guest';
export type FieldValue = number | bigint;

type Read = (words: ArrayLike<number>) => FieldValue;
interface Field {
  name: string;
  read: Read;
}

export interface Layout {
  name: string;
  /** Extra words the fields need. */
  words: number;
  fields: readonly Field[];
  read(words: ArrayLike<number>): Record<string, FieldValue>;
}

/**
 * Parse "name:type …". Types: u32 (default), s32 and u64 take words in turn; `a.b` splits a word into 16-bit halves
 * (low first); `name:lo-hi` with a leading '=' re-reads bits of the word before.
 */
function layout(name: string, spec: string): Layout {
  const fields: Field[] = [];
  let at = 0;
  for (const part of spec.split(' ').filter((p) => p !== '')) {
    const [label, type = 'u32'] = part.split(':') as [string, string?];
    const word = at;
    if (type === 'u64') {
      fields.push({ name: label, read: (w) => (BigInt(w[word + 1]! >>> 0) << 32n) | BigInt(w[word]! >>> 0) });
      at += 2;
    } else if (type === 's32') {
      fields.push({ name: label, read: (w) => w[word]! | 0 });
      at++;
    } else if (type.includes('-')) {
      const [low, high] = type.split('-').map(Number) as [number, number];
      const mask = 2 ** (high - low + 1) - 1;
      const own = label.startsWith('=') ? word - 1 : word;
      fields.push({ name: label.replace('=', ''), read: (w) => (w[own]! >>> low) & mask });
      if (own === word) at++;
    } else {
      fields.push({ name: label, read: (w) => w[word]! >>> 0 });
      at++;
    }
  }
  const words = at;
  return {
    name,
    words,
    fields,
    read(w) {
      const values: Record<string, FieldValue> = {};
      for (const field of fields) values[field.name] = field.read(w);
      return values;
    },
  };
}

const DOM_VCPU = 'vcpu:0-15 =dom:16-31';
const layouts = new Map<number, Layout[]>();
function add(number: number, name: string, ...specs: string[]): void {
  layouts.set(
    number,
    specs.map((spec) => layout(name, spec)),
  );
}
/** As add, and the same with 64-bit addresses under TRC_64_FLAG. */
function addBoth(number: number, name: string, narrow: string, wide: string): void {
  add(number, name, narrow);
  add(number + event.TRC_64_FLAG, name, wide);
}

add(event.TRC_TRACE_IRQ, 'trace_irq', 'vector count total_cycles max_cycles');

add(event.TRC_SCHED_DOM_ADD, 'dom_add', 'dom vcpu', 'dom');
add(event.TRC_SCHED_DOM_REM, 'dom_rem', 'dom vcpu', 'dom');
add(event.TRC_SCHED_SLEEP, 'vcpu_sleep', 'dom vcpu');
add(event.TRC_SCHED_WAKE, 'vcpu_wake', 'dom vcpu');
add(event.TRC_SCHED_YIELD, 'vcpu_yield', 'dom vcpu');
add(event.TRC_SCHED_BLOCK, 'vcpu_block', 'dom vcpu');
add(event.TRC_SCHED_SHUTDOWN, 'shutdown', 'dom vcpu reason');
add(event.TRC_SCHED_CTL, 'sched_ctl', '');
add(event.TRC_SCHED_ADJDOM, 'adjdom', 'dom');
add(event.TRC_SCHED_SWITCH, 'switch', 'prev_dom prev_vcpu next_dom next_vcpu');
add(event.TRC_SCHED_SWITCH_OLD, 'switch', 'prev_dom prev_vcpu next_dom next_vcpu');
add(event.TRC_SCHED_S_TIMER_FN, 's_timer_fn', '');
add(event.TRC_SCHED_T_TIMER_FN, 't_timer_fn', '');
add(event.TRC_SCHED_DOM_TIMER_FN, 'dom_timer_fn', '');
add(event.TRC_SCHED_SWITCH_INFPREV, 'switch_infprev', 'dom vcpu runtime_ns', 'dom runtime_ns');
add(event.TRC_SCHED_SWITCH_INFNEXT, 'switch_infnext', 'dom vcpu runnable_ns slice_ns:s32', 'dom runnable_ns slice_ns:s32');
add(event.TRC_SCHED_SHUTDOWN_CODE, 'shutdown_code', 'dom vcpu reason');
add(event.TRC_SCHED_SWITCH_INFCONT, 'switch_infcont', 'dom vcpu runtime_ns slice_ns:s32');

const credit = (n: number, name: string, ...specs: string[]): void =>
  add(event.schedClassEvent(event.TRC_SCHED_CSCHED, n), `csched:${name}`, ...specs);
credit(1, 'sched_tasklet', '');
credit(2, 'account_start', 'dom vcpu active');
credit(3, 'account_stop', 'dom vcpu active');
credit(4, 'stolen_vcpu', 'peer_cpu dom vcpu');
credit(5, 'picked_cpu', 'dom vcpu cpu');
credit(6, 'tickle', 'cpu');
credit(7, 'boost_start', 'dom vcpu');
credit(8, 'boost_end', 'dom vcpu');
credit(9, 'schedule', 'cpu:0-15 =tasklet:16-23 =idle:24-31');
credit(10, 'ratelimit', `${DOM_VCPU} runtime_ns`);
credit(11, 'steal_check', 'peer_cpu checked');

const credit2 = (n: number, name: string, ...specs: string[]): void =>
  add(event.schedClassEvent(event.TRC_SCHED_CSCHED2, n), `csched2:${name}`, ...specs);
credit2(1, 'tick', '');
credit2(2, 'runq_pos', `${DOM_VCPU} position`);
// Xen 4.10 put the budget between credit and delta.
credit2(3, 'credit_burn', `${DOM_VCPU} credit:s32 budget:s32 delta:s32`, `${DOM_VCPU} credit:s32 delta:s32`);
credit2(4, 'credit_add', '');
credit2(5, 'tickle_check', `${DOM_VCPU} credit:s32 score:s32`, `${DOM_VCPU} credit:s32`);
credit2(6, 'tickle', 'cpu:0-15');
credit2(7, 'credit_reset', `${DOM_VCPU} credit_start:s32 credit_end:s32`);
credit2(8, 'sched_tasklet', '');
credit2(9, 'update_load', '');
credit2(10, 'runq_assign', `${DOM_VCPU} runq:0-15`);
credit2(11, 'update_vcpu_load', `vcpu_load:u64 ${DOM_VCPU} shift`, `${DOM_VCPU} avgload`);
credit2(
  12,
  'update_runq_load',
  'runq_avgload:u64 b_avgload:u64 runq_load:0-15 =runq:16-23 =shift:24-31',
  'runq_load:0-3 =runq_avgload:4-31 runq:0-3 =b_avgload:4-31',
);
credit2(13, 'tickle_new', `${DOM_VCPU} processor credit:s32`);
credit2(14, 'runq_max_weight', 'runq:0-15 =max_weight:16-31');
credit2(15, 'migrate', `${DOM_VCPU} runq:0-15 =target_runq:16-31`);
credit2(16, 'load_check', 'local_runq:0-15 =other_runq:16-31 delta');
credit2(17, 'load_balance', 'local_avgload:u64 other_avgload:u64 local_runq:0-15 =other_runq:16-31');
credit2(19, 'picked_cpu', `b_avgload:u64 ${DOM_VCPU} runq:0-15 =cpu:16-31`);
credit2(20, 'runq_candidate', `${DOM_VCPU} tickled_cpu:s32 credit:s32`);
credit2(21, 'schedule', 'cpu:0-15 =runq:16-31 tasklet:0-7 =idle:8-15 =smt_idle:16-23 =tickled:24-31');
credit2(22, 'ratelimit', `${DOM_VCPU} runtime_ns`);
credit2(23, 'runq_cand_check', DOM_VCPU);

for (let n = 1; n <= 4; n++) add(event.schedClassEvent(event.TRC_SCHED_ARINC653, n), `arinc653:event_${n}`, '');

const rtds = (n: number, name: string, ...specs: string[]): void =>
  add(event.schedClassEvent(event.TRC_SCHED_RTDS, n), `rtds:${name}`, ...specs);
rtds(1, 'tickle', 'cpu:0-15');
rtds(2, 'runq_pick', `${DOM_VCPU} deadline:u64 budget:u64`);
// Xen 4.10 added priorities. Up to 4.17 only the low byte of the word with has_extratime is data.
rtds(3, 'burn_budget', `${DOM_VCPU} budget:u64 delta:s32 priority_level has_extratime:0-7`, `${DOM_VCPU} budget:u64 delta:s32`);
rtds(4, 'repl_budget', `${DOM_VCPU} priority_level deadline:u64 budget:u64`, `${DOM_VCPU} deadline:u64 budget:u64`);
rtds(5, 'sched_tasklet', '');
rtds(6, 'schedule', 'cpu:0-15 =tasklet:16-23 =idle:24-27 =tickled:28-31');

const snull = (n: number, name: string, spec: string): void =>
  add(event.schedClassEvent(event.TRC_SCHED_SNULL, n), `null:${name}`, spec);
snull(1, 'pick_cpu', `${DOM_VCPU} new_cpu`);
snull(2, 'assign', `${DOM_VCPU} cpu`);
snull(3, 'deassign', `${DOM_VCPU} cpu`);
snull(4, 'migrate', `${DOM_VCPU} cpu:0-15 =new_cpu:16-31`);
snull(5, 'schedule', `tasklet:0-15 =cpu:16-31 ${DOM_VCPU}`);
snull(6, 'sched_tasklet', '');

add(event.TRC_DOM0_DOM_ADD, 'domain_create', 'dom');
add(event.TRC_DOM0_DOM_REM, 'domain_destroy', 'dom');

addBoth(event.TRC_HVM_PF_XEN, 'pf_xen', 'error_code va', 'error_code va:u64');
addBoth(event.TRC_HVM_PF_INJECT, 'pf_inject', 'error_code cr2', 'error_code cr2:u64');
add(event.TRC_HVM_INJ_EXC, 'inj_exc', 'vector error_code');
add(event.TRC_HVM_REINJ_VIRQ, 'reinj_virq', 'vector');
add(event.TRC_HVM_IO_READ, 'io_read', 'port size');
add(event.TRC_HVM_IO_WRITE, 'io_write', 'port size');
addBoth(event.TRC_HVM_CR_READ, 'cr_read', 'cr value', 'cr value:u64');
addBoth(event.TRC_HVM_CR_WRITE, 'cr_write', 'cr value', 'cr value:u64');
add(event.TRC_HVM_DR_READ, 'dr_read', '');
add(event.TRC_HVM_DR_WRITE, 'dr_write', '');
add(event.TRC_HVM_MSR_READ, 'msr_read', 'msr value:u64');
add(event.TRC_HVM_MSR_WRITE, 'msr_write', 'msr value:u64');
// Xen up to 4.12 has no sub-leaf.
add(event.TRC_HVM_CPUID, 'cpuid', 'leaf subleaf eax ebx ecx edx', 'leaf eax ebx ecx edx');
// SVM does not know the vector before it takes the interrupt.
add(event.TRC_HVM_INTR, 'intr', 'vector', '');
add(event.TRC_HVM_NMI, 'nmi', '');
add(event.TRC_HVM_SMI, 'smi', '');
add(event.TRC_HVM_VMMCALL, 'vmmcall', 'eax');
add(event.TRC_HVM_HLT, 'hlt', 'pending');
addBoth(event.TRC_HVM_INVLPG, 'invlpg', 'invlpga va', 'invlpga va:u64');
add(event.TRC_HVM_MCE, 'mce', '');
add(event.TRC_HVM_CLTS, 'clts', '');
addBoth(event.TRC_HVM_LMSW, 'lmsw', 'value', 'value:u64');
add(event.TRC_HVM_RDTSC, 'rdtsc', 'value:u64');
add(event.TRC_HVM_INTR_WINDOW, 'intr_window', 'vector source pending:s32');
add(event.TRC_HVM_REALMODE_EMULATE, 'realmode_emulate', '');
add(event.TRC_HVM_TRAP, 'trap', 'vector');
add(event.TRC_HVM_TRAP_DEBUG, 'trap_debug', 'qualification', '');
add(event.TRC_HVM_VLAPIC, 'vlapic', '');
add(event.TRC_HVM_XCR_READ64, 'xcr_read', 'xcr value:u64');
add(event.TRC_HVM_XCR_WRITE64, 'xcr_write', 'xcr value:u64');

add(event.TRC_HVM_EMUL_HPET_START_TIMER, 'hpet_start_timer', 'tn irq delta:u64 period:u64');
add(event.TRC_HVM_EMUL_PIT_START_TIMER, 'pit_start_timer', 'delta period');
add(event.TRC_HVM_EMUL_RTC_START_TIMER, 'rtc_start_timer', 'delta period');
add(event.TRC_HVM_EMUL_LAPIC_START_TIMER, 'lapic_start_timer', 'delta:u64 period:u64 irq');
add(event.TRC_HVM_EMUL_HPET_STOP_TIMER, 'hpet_stop_timer', 'tn');
add(event.TRC_HVM_EMUL_PIT_STOP_TIMER, 'pit_stop_timer', '');
add(event.TRC_HVM_EMUL_RTC_STOP_TIMER, 'rtc_stop_timer', '');
add(event.TRC_HVM_EMUL_LAPIC_STOP_TIMER, 'lapic_stop_timer', '');
add(event.TRC_HVM_EMUL_PIT_TIMER_CB, 'pit_timer_cb', '');
add(event.TRC_HVM_EMUL_LAPIC_TIMER_CB, 'lapic_timer_cb', '');
add(event.TRC_HVM_EMUL_PIC_INT_OUTPUT, 'pic_int_output', 'int_output is_master irq:s32');
add(event.TRC_HVM_EMUL_PIC_KICK, 'pic_kick', 'irq:s32');
add(event.TRC_HVM_EMUL_PIC_INTACK, 'pic_intack', 'is_master irq:s32');
add(event.TRC_HVM_EMUL_PIC_POSEDGE, 'pic_posedge', 'irq');
add(event.TRC_HVM_EMUL_PIC_NEGEDGE, 'pic_negedge', 'irq');
add(event.TRC_HVM_EMUL_PIC_PEND_IRQ_CALL, 'pic_pend_irq_call', 'accept_pic_intr int_output');
add(event.TRC_HVM_EMUL_LAPIC_PIC_INTR, 'lapic_pic_intr', 'i8259_target accept_pic_intr');

add(event.TRC_MEM_PAGE_GRANT_MAP, 'page_grant_map', 'dom');
add(event.TRC_MEM_PAGE_GRANT_UNMAP, 'page_grant_unmap', 'dom');
add(event.TRC_MEM_PAGE_GRANT_TRANSFER, 'page_grant_transfer', 'dom');
add(event.TRC_MEM_SET_P2M_ENTRY, 'set_p2m_entry', 'gfn:u64 mfn:u64 p2mt dom:0-15 =order:16-31');
add(event.TRC_MEM_DECREASE_RESERVATION, 'decrease_reservation', 'gfn:u64 dom:0-15 =order:16-31');
add(event.TRC_MEM_POD_POPULATE, 'pod_populate', 'gfn:u64 mfn:u64 dom:0-15 =order:16-31');
add(event.TRC_MEM_POD_ZERO_RECLAIM, 'pod_zero_reclaim', 'gfn:u64 mfn:u64 dom:0-15 =order:16-31');
add(event.TRC_MEM_POD_SUPERPAGE_SPLINTER, 'pod_superpage_splinter', 'gfn:u64 dom:0-15 =order:16-31', 'gfn:u64');

addBoth(event.TRC_PV_HYPERCALL, 'hypercall', 'eip eax', 'rip:u64 eax');
addBoth(
  event.TRC_PV_TRAP,
  'trap',
  'eip trap:0-14 =has_error_code:15-15 =error_code:16-31',
  'rip:u64 trap:0-14 =has_error_code:15-15 =error_code:16-31',
);
addBoth(event.TRC_PV_PAGE_FAULT, 'page_fault', 'eip addr error_code', 'rip:u64 addr:u64 error_code');
addBoth(event.TRC_PV_FORCED_INVALID_OP, 'forced_invalid_op', 'eip', 'rip:u64');
addBoth(event.TRC_PV_EMULATE_PRIVOP, 'emulate_privop', 'eip', 'rip:u64');
addBoth(event.TRC_PV_EMULATE_4GB, 'emulate_4gb', 'eip', 'rip:u64');
addBoth(event.TRC_PV_MATH_STATE_RESTORE, 'math_state_restore', '', '');
addBoth(event.TRC_PV_PAGING_FIXUP, 'paging_fixup', 'eip addr', 'rip:u64 addr:u64');
addBoth(event.TRC_PV_GDT_LDT_MAPPING_FAULT, 'gdt_ldt_mapping_fault', 'eip offset', 'rip:u64 offset:u64');
addBoth(event.TRC_PV_PTWR_EMULATION, 'ptwr_emulation', 'pte:u64 addr eip', 'pte:u64 addr:u64 rip:u64');
addBoth(event.TRC_PV_PTWR_EMULATION_PAE, 'ptwr_emulation_pae', 'pte:u64 addr eip', 'pte:u64 addr:u64 rip:u64');
add(event.TRC_PV_HYPERCALL_V2, 'hypercall_v2', 'op:0-19 =args:20-31');
add(event.TRC_PV_HYPERCALL_SUBCALL, 'hypercall_subcall', 'op:0-19 =args:20-31');

// Shadow events carry the guest's paging levels less two in bits 11:8.
function shadow(number: number, name: string, two: string, three: string, four: string): void {
  add(number, name, two);
  add(number + 0x100, name, three);
  add(number + 0x200, name, four);
}
const shadowGfn = (number: number, name: string): void => shadow(number, name, 'gfn:u64', 'gfn:u64', 'gfn:u64');
const shadowVa = (number: number, name: string): void => shadow(number, name, 'va', 'va', 'va:u64');
const shadowFault = (number: number, name: string): void =>
  shadow(number, name, 'gl1e va flags', 'gl1e:u64 va flags', 'gl1e:u64 va:u64 flags');
const shadowOther = (number: number, name: string): void => shadow(number, name, 'gfn va', 'gfn:u64 va', 'gfn:u64 va:u64');
shadowFault(event.TRC_SHADOW_NOT_SHADOW, 'shadow_not_shadow');
shadowVa(event.TRC_SHADOW_FAST_PROPAGATE, 'shadow_fast_propagate');
shadowVa(event.TRC_SHADOW_FAST_MMIO, 'shadow_fast_mmio');
shadowVa(event.TRC_SHADOW_FALSE_FAST_PATH, 'shadow_false_fast_path');
shadowVa(event.TRC_SHADOW_MMIO, 'shadow_mmio');
shadowFault(event.TRC_SHADOW_FIXUP, 'shadow_fixup');
shadowVa(event.TRC_SHADOW_DOMF_DYING, 'shadow_domf_dying');
shadow(
  event.TRC_SHADOW_EMULATE,
  'shadow_emulate',
  'gl1e write_val va flags:0-28 =emulation_count:29-31',
  'gl1e:u64 write_val:u64 va flags:0-28 =emulation_count:29-31',
  'gl1e:u64 write_val:u64 va:u64 flags:0-28 =emulation_count:29-31',
);
shadowOther(event.TRC_SHADOW_EMULATE_UNSHADOW_USER, 'shadow_emulate_unshadow_user');
shadowOther(event.TRC_SHADOW_EMULATE_UNSHADOW_EVTINJ, 'shadow_emulate_unshadow_evtinj');
shadowOther(event.TRC_SHADOW_EMULATE_UNSHADOW_UNHANDLED, 'shadow_emulate_unshadow_unhandled');
shadowGfn(event.TRC_SHADOW_WRMAP_BF, 'shadow_wrmap_bf');
shadowGfn(event.TRC_SHADOW_PREALLOC_UNPIN, 'shadow_prealloc_unpin');
shadowGfn(event.TRC_SHADOW_RESYNC_FULL, 'shadow_resync_full');
shadowGfn(event.TRC_SHADOW_RESYNC_ONLY, 'shadow_resync_only');

add(event.TRC_PM_FREQ_CHANGE, 'freq_change', 'old_mhz new_mhz');
add(event.TRC_PM_IDLE_ENTRY, 'idle_entry', 'cstate pm_tick expected_us predicted_us', 'cstate pm_tick');
add(event.TRC_PM_IDLE_EXIT, 'idle_exit', 'cstate pm_tick irq0 irq1 irq2 irq3', 'cstate pm_tick');
add(event.TRC_HW_IRQ_MOVE_CLEANUP_DELAY, 'irq_move_cleanup_delay', 'irq vector cpu');
add(event.TRC_HW_IRQ_MOVE_CLEANUP, 'irq_move_cleanup', 'irq vector cpu');
add(event.TRC_HW_IRQ_BIND_VECTOR, 'irq_bind_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
add(event.TRC_HW_IRQ_CLEAR_VECTOR, 'irq_clear_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
add(event.TRC_HW_IRQ_MOVE_FINISH, 'irq_move_finish', 'irq vector cpu');
add(event.TRC_HW_IRQ_ASSIGN_VECTOR, 'irq_assign_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
add(event.TRC_HW_IRQ_UNMAPPED_VECTOR, 'irq_unmapped_vector', 'vector');
add(event.TRC_HW_IRQ_HANDLED, 'irq_handled', 'irq start_tsc_low end_tsc_low');

/** The layout of an event whose record has `words` extra words: the richest one that fits, or null. */
export function layoutOf(event: number, words: number): Layout | null {
  const candidates = layouts.get(event);
  if (candidates === undefined) return null;
  for (const candidate of candidates) if (candidate.words <= words) return candidate;
  return null;
}

/** Extra words of an event's record in the newest release that writes it; 0 for an event without a layout. */
export const fullWords = (event: number): number => layouts.get(event)?.[0]?.words ?? 0;

/** Name of an event, whatever its record's length, or null. */
export const eventName = (event: number): string | null => layouts.get(event)?.[0]?.name ?? null;
