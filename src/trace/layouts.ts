import {
  schedClassEvent, TRC_64_FLAG, TRC_DOM0_DOM_ADD, TRC_DOM0_DOM_REM, TRC_HVM_EMUL, TRC_HVM_HANDLER, TRC_HW_IRQ, TRC_HW_PM, TRC_MEM,
  TRC_PV_ENTRY, TRC_PV_HYPERCALL_SUBCALL, TRC_SCHED_ARINC653, TRC_SCHED_CSCHED, TRC_SCHED_CSCHED2, TRC_SCHED_RTDS, TRC_SCHED_SNULL,
  TRC_SCHED_SWITCH_OLD, TRC_SCHED_VERBOSE, TRC_SHADOW, TRC_TRACE_IRQ,
} from './events.ts';

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
    name, words, fields,
    read(w) {
      const values: Record<string, FieldValue> = {};
      for (const field of fields) values[field.name] = field.read(w);
      return values;
    },
  };
}

const DOM_VCPU = 'vcpu:0-15 =dom:16-31';
const layouts = new Map<number, Layout[]>();
function add(event: number, name: string, ...specs: string[]): void {
  layouts.set(event, specs.map((spec) => layout(name, spec)));
}
/** As add, and the same with 64-bit addresses under TRC_64_FLAG. */
function addBoth(event: number, name: string, narrow: string, wide: string): void {
  add(event, name, narrow);
  add(event + TRC_64_FLAG, name, wide);
}

add(TRC_TRACE_IRQ, 'trace_irq', 'vector count total_cycles max_cycles');

const verbose = (n: number, name: string, ...specs: string[]): void => add(TRC_SCHED_VERBOSE + n, name, ...specs);
verbose(1, 'dom_add', 'dom vcpu', 'dom');
verbose(2, 'dom_rem', 'dom vcpu', 'dom');
verbose(3, 'vcpu_sleep', 'dom vcpu');
verbose(4, 'vcpu_wake', 'dom vcpu');
verbose(5, 'vcpu_yield', 'dom vcpu');
verbose(6, 'vcpu_block', 'dom vcpu');
verbose(7, 'shutdown', 'dom vcpu reason');
verbose(8, 'sched_ctl', '');
verbose(9, 'adjdom', 'dom');
verbose(10, 'switch', 'prev_dom prev_vcpu next_dom next_vcpu');
add(TRC_SCHED_SWITCH_OLD, 'switch', 'prev_dom prev_vcpu next_dom next_vcpu');
verbose(11, 's_timer_fn', '');
verbose(12, 't_timer_fn', '');
verbose(13, 'dom_timer_fn', '');
verbose(14, 'switch_infprev', 'dom vcpu runtime_ns', 'dom runtime_ns');
verbose(15, 'switch_infnext', 'dom vcpu runnable_ns slice_ns:s32', 'dom runnable_ns slice_ns:s32');
verbose(16, 'shutdown_code', 'dom vcpu reason');
verbose(17, 'switch_infcont', 'dom vcpu runtime_ns slice_ns:s32');

const credit = (n: number, name: string, ...specs: string[]): void => add(schedClassEvent(TRC_SCHED_CSCHED, n), `csched:${name}`, ...specs);
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

const credit2 = (n: number, name: string, ...specs: string[]): void => add(schedClassEvent(TRC_SCHED_CSCHED2, n), `csched2:${name}`, ...specs);
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
credit2(12, 'update_runq_load', 'runq_avgload:u64 b_avgload:u64 runq_load:0-15 =runq:16-23 =shift:24-31', 'runq_load:0-3 =runq_avgload:4-31 runq:0-3 =b_avgload:4-31');
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

for (let n = 1; n <= 4; n++) add(schedClassEvent(TRC_SCHED_ARINC653, n), `arinc653:event_${n}`, '');

const rtds = (n: number, name: string, spec: string): void => add(schedClassEvent(TRC_SCHED_RTDS, n), `rtds:${name}`, spec);
rtds(1, 'tickle', 'cpu:0-15');
rtds(2, 'runq_pick', `${DOM_VCPU} deadline:u64 budget:u64`);
rtds(3, 'burn_budget', `${DOM_VCPU} budget:u64 delta:s32`);
rtds(4, 'repl_budget', `${DOM_VCPU} deadline:u64 budget:u64`);
rtds(5, 'sched_tasklet', '');
rtds(6, 'schedule', 'cpu:0-15 =tasklet:16-23 =idle:24-27 =tickled:28-31');

const snull = (n: number, name: string, spec: string): void => add(schedClassEvent(TRC_SCHED_SNULL, n), `null:${name}`, spec);
snull(1, 'pick_cpu', `${DOM_VCPU} new_cpu`);
snull(2, 'assign', `${DOM_VCPU} cpu`);
snull(3, 'deassign', `${DOM_VCPU} cpu`);
snull(4, 'migrate', `${DOM_VCPU} cpu:0-15 =new_cpu:16-31`);
snull(5, 'schedule', `tasklet:0-15 =cpu:16-31 ${DOM_VCPU}`);
snull(6, 'sched_tasklet', '');

add(TRC_DOM0_DOM_ADD, 'domain_create', 'dom');
add(TRC_DOM0_DOM_REM, 'domain_destroy', 'dom');

const handler = (n: number, name: string, ...specs: string[]): void => add(TRC_HVM_HANDLER + n, name, ...specs);
const handlerBoth = (n: number, name: string, narrow: string, wide: string): void => addBoth(TRC_HVM_HANDLER + n, name, narrow, wide);
handlerBoth(0x01, 'pf_xen', 'error_code va', 'error_code va:u64');
handlerBoth(0x02, 'pf_inject', 'error_code cr2', 'error_code cr2:u64');
handler(0x03, 'inj_exc', 'vector error_code');
handler(0x05, 'reinj_virq', 'vector');
handler(0x06, 'io_read', 'port size');
handler(0x07, 'io_write', 'port size');
handlerBoth(0x08, 'cr_read', 'cr value', 'cr value:u64');
handlerBoth(0x09, 'cr_write', 'cr value', 'cr value:u64');
handler(0x0a, 'dr_read', '');
handler(0x0b, 'dr_write', '');
handler(0x0c, 'msr_read', 'msr value:u64');
handler(0x0d, 'msr_write', 'msr value:u64');
// Xen up to 4.12 has no sub-leaf.
handler(0x0e, 'cpuid', 'leaf subleaf eax ebx ecx edx', 'leaf eax ebx ecx edx');
// SVM does not know the vector before it takes the interrupt.
handler(0x0f, 'intr', 'vector', '');
handler(0x10, 'nmi', '');
handler(0x11, 'smi', '');
handler(0x12, 'vmmcall', 'eax');
handler(0x13, 'hlt', 'pending');
handlerBoth(0x14, 'invlpg', 'invlpga va', 'invlpga va:u64');
handler(0x15, 'mce', '');
handler(0x18, 'clts', '');
handlerBoth(0x19, 'lmsw', 'value', 'value:u64');
handler(0x1a, 'rdtsc', 'value:u64');
handler(0x20, 'intr_window', 'vector source pending:s32');
handler(0x22, 'realmode_emulate', '');
handler(0x23, 'trap', 'vector');
handler(0x24, 'trap_debug', 'qualification', '');
handler(0x25, 'vlapic', '');
handler(0x126, 'xcr_read', 'xcr value:u64');
handler(0x127, 'xcr_write', 'xcr value:u64');

const emul = (n: number, name: string, spec: string): void => add(TRC_HVM_EMUL + n, name, spec);
emul(0x01, 'hpet_start_timer', 'tn irq delta:u64 period:u64');
emul(0x02, 'pit_start_timer', 'delta period');
emul(0x03, 'rtc_start_timer', 'delta period');
emul(0x04, 'lapic_start_timer', 'delta:u64 period:u64 irq');
emul(0x05, 'hpet_stop_timer', 'tn');
emul(0x06, 'pit_stop_timer', '');
emul(0x07, 'rtc_stop_timer', '');
emul(0x08, 'lapic_stop_timer', '');
emul(0x09, 'pit_timer_cb', '');
emul(0x0a, 'lapic_timer_cb', '');
emul(0x0b, 'pic_int_output', 'int_output is_master irq:s32');
emul(0x0c, 'pic_kick', 'irq:s32');
emul(0x0d, 'pic_intack', 'is_master irq:s32');
emul(0x0e, 'pic_posedge', 'irq');
emul(0x0f, 'pic_negedge', 'irq');
emul(0x10, 'pic_pend_irq_call', 'accept_pic_intr int_output');
emul(0x11, 'lapic_pic_intr', 'i8259_target accept_pic_intr');

const mem = (n: number, name: string, ...specs: string[]): void => add(TRC_MEM + n, name, ...specs);
mem(1, 'page_grant_map', 'dom');
mem(2, 'page_grant_unmap', 'dom');
mem(3, 'page_grant_transfer', 'dom');
mem(4, 'set_p2m_entry', 'gfn:u64 mfn:u64 p2mt dom:0-15 =order:16-31');
mem(5, 'decrease_reservation', 'gfn:u64 dom:0-15 =order:16-31');
mem(16, 'pod_populate', 'gfn:u64 mfn:u64 dom:0-15 =order:16-31');
mem(17, 'pod_zero_reclaim', 'gfn:u64 mfn:u64 dom:0-15 =order:16-31');
mem(18, 'pod_superpage_splinter', 'gfn:u64 dom:0-15 =order:16-31', 'gfn:u64');

const pv = (n: number, name: string, narrow: string, wide: string): void => addBoth(TRC_PV_ENTRY + n, name, narrow, wide);
pv(1, 'hypercall', 'eip eax', 'rip:u64 eax');
pv(3, 'trap', 'eip trap:0-14 =has_error_code:15-15 =error_code:16-31', 'rip:u64 trap:0-14 =has_error_code:15-15 =error_code:16-31');
pv(4, 'page_fault', 'eip addr error_code', 'rip:u64 addr:u64 error_code');
pv(5, 'forced_invalid_op', 'eip', 'rip:u64');
pv(6, 'emulate_privop', 'eip', 'rip:u64');
pv(7, 'emulate_4gb', 'eip', 'rip:u64');
pv(8, 'math_state_restore', '', '');
pv(9, 'paging_fixup', 'eip addr', 'rip:u64 addr:u64');
pv(10, 'gdt_ldt_mapping_fault', 'eip offset', 'rip:u64 offset:u64');
pv(11, 'ptwr_emulation', 'pte:u64 addr eip', 'pte:u64 addr:u64 rip:u64');
pv(12, 'ptwr_emulation_pae', 'pte:u64 addr eip', 'pte:u64 addr:u64 rip:u64');
add(TRC_PV_ENTRY + 13, 'hypercall_v2', 'op:0-19 =args:20-31');
add(TRC_PV_HYPERCALL_SUBCALL, 'hypercall_subcall', 'op:0-19 =args:20-31');

// Shadow events carry the guest's paging levels less two in bits 11:8.
function shadow(n: number, name: string, two: string, three: string, four: string): void {
  add(TRC_SHADOW + n, name, two);
  add(TRC_SHADOW + 0x100 + n, name, three);
  add(TRC_SHADOW + 0x200 + n, name, four);
}
const shadowGfn = (n: number, name: string): void => shadow(n, name, 'gfn:u64', 'gfn:u64', 'gfn:u64');
const shadowVa = (n: number, name: string): void => shadow(n, name, 'va', 'va', 'va:u64');
const shadowFault = (n: number, name: string): void => shadow(n, name, 'gl1e va flags', 'gl1e:u64 va flags', 'gl1e:u64 va:u64 flags');
const shadowOther = (n: number, name: string): void => shadow(n, name, 'gfn va', 'gfn:u64 va', 'gfn:u64 va:u64');
shadowFault(1, 'shadow_not_shadow');
shadowVa(2, 'shadow_fast_propagate');
shadowVa(3, 'shadow_fast_mmio');
shadowVa(4, 'shadow_false_fast_path');
shadowVa(5, 'shadow_mmio');
shadowFault(6, 'shadow_fixup');
shadowVa(7, 'shadow_domf_dying');
shadow(8, 'shadow_emulate', 'gl1e write_val va flags:0-28 =emulation_count:29-31', 'gl1e:u64 write_val:u64 va flags:0-28 =emulation_count:29-31',
  'gl1e:u64 write_val:u64 va:u64 flags:0-28 =emulation_count:29-31');
shadowOther(9, 'shadow_emulate_unshadow_user');
shadowOther(10, 'shadow_emulate_unshadow_evtinj');
shadowOther(11, 'shadow_emulate_unshadow_unhandled');
shadowGfn(12, 'shadow_wrmap_bf');
shadowGfn(13, 'shadow_prealloc_unpin');
shadowGfn(14, 'shadow_resync_full');
shadowGfn(15, 'shadow_resync_only');

add(TRC_HW_PM + 1, 'freq_change', 'old_mhz new_mhz');
add(TRC_HW_PM + 2, 'idle_entry', 'cstate pm_tick expected_us predicted_us', 'cstate pm_tick');
add(TRC_HW_PM + 3, 'idle_exit', 'cstate pm_tick irq0 irq1 irq2 irq3', 'cstate pm_tick');
const irq = (n: number, name: string, ...specs: string[]): void => add(TRC_HW_IRQ + n, name, ...specs);
irq(1, 'irq_move_cleanup_delay', 'irq vector cpu');
irq(2, 'irq_move_cleanup', 'irq vector cpu');
irq(3, 'irq_bind_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
irq(4, 'irq_clear_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
irq(5, 'irq_move_finish', 'irq vector cpu');
irq(6, 'irq_assign_vector', 'irq vector mask0 mask1 mask2 mask3', 'irq vector mask0');
irq(7, 'irq_unmapped_vector', 'vector');
irq(8, 'irq_handled', 'irq start_tsc_low end_tsc_low');

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
