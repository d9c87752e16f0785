/**
 * The fewest extra words a record needs for its form. A shorter one (written by an older or another Xen, or damaged) is shown as
 * the numbers it has: the words behind it are the next record's.
 */
import * as event from '../events.ts';

/** Words of each event, and with TRC_64_FLAG where that changes them. */
const WORDS: readonly (readonly [event: number, words: number, wide?: number])[] = [
  [event.TRC_DOM0_DOM_ADD, 1, 1],
  [event.TRC_DOM0_DOM_REM, 1, 1],
  [event.TRC_HVM_CR_WRITE, 2, 3],
  [event.TRC_HVM_INJ_EXC, 2],
  [event.TRC_HVM_INJ_VIRQ, 1],
  [event.TRC_HVM_INTR_WINDOW, 3],
  [event.TRC_HVM_IOMEM_READ, 1, 2],
  [event.TRC_HVM_IOMEM_WRITE, 1, 2],
  [event.TRC_HVM_IOPORT_READ, 1],
  [event.TRC_HVM_IOPORT_WRITE, 1],
  [event.TRC_HVM_NPF, 6],
  [event.TRC_HVM_PF_INJECT, 2, 3],
  [event.TRC_HVM_PF_XEN, 2, 3],
  [event.TRC_HVM_RDTSC, 2],
  [event.TRC_HVM_REINJ_VIRQ, 1],
  [event.TRC_HVM_VMMCALL, 1],
  [event.TRC_HW_IRQ_ASSIGN_VECTOR, 2],
  [event.TRC_HW_IRQ_BIND_VECTOR, 2],
  [event.TRC_HW_IRQ_HANDLED, 3],
  [event.TRC_HW_IRQ_MOVE_CLEANUP, 3],
  [event.TRC_HW_IRQ_MOVE_CLEANUP_DELAY, 3],
  [event.TRC_HW_IRQ_UNMAPPED_VECTOR, 1],
  [event.TRC_MEM_DECREASE_RESERVATION, 3],
  [event.TRC_MEM_PAGE_GRANT_MAP, 1],
  [event.TRC_MEM_PAGE_GRANT_TRANSFER, 1],
  [event.TRC_MEM_PAGE_GRANT_UNMAP, 1],
  [event.TRC_MEM_POD_POPULATE, 5],
  [event.TRC_MEM_POD_SUPERPAGE_SPLINTER, 3],
  [event.TRC_MEM_POD_ZERO_RECLAIM, 5],
  [event.TRC_MEM_SET_P2M_ENTRY, 6],
  [event.TRC_PM_FREQ_CHANGE, 2],
  [event.TRC_PM_IDLE_ENTRY, 1],
  [event.TRC_PM_IDLE_EXIT, 1],
  [event.TRC_SCHED_ADJDOM, 1],
  [event.TRC_SCHED_BLOCK, 2],
  [event.TRC_SCHED_DOM_ADD, 1],
  [event.TRC_SCHED_DOM_REM, 1],
  [event.TRC_SCHED_SHUTDOWN, 3],
  [event.TRC_SCHED_SHUTDOWN_CODE, 3],
  [event.TRC_SCHED_SLEEP, 2],
  [event.TRC_SCHED_SWITCH, 4],
  [event.TRC_SCHED_SWITCH_INFCONT, 3],
  [event.TRC_SCHED_SWITCH_INFNEXT, 3],
  [event.TRC_SCHED_SWITCH_INFPREV, 2],
  [event.TRC_SCHED_WAKE, 2],
  [event.TRC_SCHED_YIELD, 2],
  [event.TRC_SHADOW_PREALLOC_UNPIN, 2, 2],
  [event.TRC_SHADOW_RESYNC_FULL, 2, 2],
  [event.TRC_SHADOW_RESYNC_ONLY, 2, 2],
  [event.TRC_SHADOW_WRMAP_BF, 2, 2],
];
/** Bits 11:4 of a runstate record hold the two states. */
const RUNSTATES = [event.TRC_SCHED_RUNSTATE_CHANGE, event.TRC_SCHED_CONTINUE_RUNNING];

/** Place of an event in the table: its class's number and its low half. */
const placeOf = (number: number): number => ((31 - Math.clz32((number >>> 16) & 0xff)) << 16) | (number & 0xffff);

const LEAST = new Uint8Array(8 << 16);
for (const [number, words, wide] of WORDS) {
  LEAST[placeOf(number)] = words;
  if (wide !== undefined) LEAST[placeOf(number | event.TRC_64_FLAG)] = wide;
}
for (const number of RUNSTATES) for (let states = 0; states < 256; states++) LEAST[placeOf(number | (states << 4))] = 1;

/** Extra words that a record of this event, of exactly one class, needs at least. */
export const leastWords = (number: number): number => LEAST[placeOf(number)]!;
