/**
 * Event numbers of xentrace records: the low 28 bits of a record's header word. Values and names are those of Xen's
 * public/trace.h (4.4 to 4.22); what a release lacks is said beside the number.
 */

/** Header word: event 27:0, number of extra words 30:28, "holds a TSC" 31. */
export const TRACE_EXTRA_SHIFT = 28;
export const TRACE_EXTRA_MAX = 7;
/** Header, TSC and seven extra words. */
export const TRACE_RECORD_MAX_BYTES = 40;

/** Classes (bits 27:16) with all sub-class bits (15:12) set: the masks `xentrace -e` takes. */
export const TRC_GEN = 0x0001f000;
export const TRC_SCHED = 0x0002f000;
export const TRC_DOM0OP = 0x0004f000;
export const TRC_HVM = 0x0008f000;
export const TRC_MEM = 0x0010f000;
export const TRC_PV = 0x0020f000;
export const TRC_SHADOW = 0x0040f000;
export const TRC_HW = 0x0080f000;
export const TRC_ALL = 0x0ffff000;

/** Sub-classes. */
export const TRC_SCHED_MIN = 0x00021000;
export const TRC_SCHED_CLASS = 0x00022000;
export const TRC_SCHED_VERBOSE = 0x00028000;
const TRC_DOM0_DOMOPS = 0x00041000;
export const TRC_HVM_ENTRYEXIT = 0x00081000;
export const TRC_HVM_HANDLER = 0x00082000;
/** Timers and interrupt controllers inside the hypervisor; not in 4.4. */
export const TRC_HVM_EMUL = 0x00084000;
export const TRC_PV_ENTRY = 0x00201000;
const TRC_PV_SUBCALL = 0x00202000;
export const TRC_HW_PM = 0x00801000;
export const TRC_HW_IRQ = 0x00802000;

/** Addresses in this record are 64 bits wide. */
export const TRC_64_FLAG = 0x100;
/** VMENTRY or VMEXIT of a nested guest. */
export const TRC_HVM_NESTEDFLAG = 0x400;
/** Port or memory access of the HVM handler class: a write. */
export const TRC_HVM_WRITE_FLAG = 0x200;

export const TRC_LOST_RECORDS = TRC_GEN + 1;
export const TRC_TRACE_WRAP_BUFFER = TRC_GEN + 2;
export const TRC_TRACE_CPU_CHANGE = TRC_GEN + 3;
/** Only xentrace_format's table names it. */
export const TRC_TRACE_IRQ = TRC_GEN + 4;

/** Scheduler ids in bits 11:9 of a TRC_SCHED_CLASS event. RTDS and null are not in 4.4; SEDF, 2, only there. */
export const TRC_SCHED_CSCHED = 0;
export const TRC_SCHED_CSCHED2 = 1;
export const TRC_SCHED_ARINC653 = 3;
export const TRC_SCHED_RTDS = 4;
export const TRC_SCHED_SNULL = 5;

/** Event of a scheduler's own: `id` from the TRC_SCHED_… ids, `event` 0..511. */
export const schedClassEvent = (id: number, event: number): number => TRC_SCHED_CLASS + (id << 9) + event;

/** Plus old state << 8 and new state << 4. */
export const TRC_SCHED_RUNSTATE_CHANGE = TRC_SCHED_MIN + 1;
export const TRC_SCHED_CONTINUE_RUNNING = TRC_SCHED_MIN + 2;
export const TRC_SCHED_DOM_ADD = TRC_SCHED_VERBOSE + 1;
export const TRC_SCHED_DOM_REM = TRC_SCHED_VERBOSE + 2;
export const TRC_SCHED_SLEEP = TRC_SCHED_VERBOSE + 3;
export const TRC_SCHED_WAKE = TRC_SCHED_VERBOSE + 4;
export const TRC_SCHED_YIELD = TRC_SCHED_VERBOSE + 5;
export const TRC_SCHED_BLOCK = TRC_SCHED_VERBOSE + 6;
export const TRC_SCHED_SHUTDOWN = TRC_SCHED_VERBOSE + 7;
export const TRC_SCHED_CTL = TRC_SCHED_VERBOSE + 8;
export const TRC_SCHED_ADJDOM = TRC_SCHED_VERBOSE + 9;
export const TRC_SCHED_SWITCH = TRC_SCHED_VERBOSE + 10;
export const TRC_SCHED_S_TIMER_FN = TRC_SCHED_VERBOSE + 11;
export const TRC_SCHED_T_TIMER_FN = TRC_SCHED_VERBOSE + 12;
export const TRC_SCHED_DOM_TIMER_FN = TRC_SCHED_VERBOSE + 13;
export const TRC_SCHED_SWITCH_INFPREV = TRC_SCHED_VERBOSE + 14;
export const TRC_SCHED_SWITCH_INFNEXT = TRC_SCHED_VERBOSE + 15;
export const TRC_SCHED_SHUTDOWN_CODE = TRC_SCHED_VERBOSE + 16;
/** Not in 4.4. */
export const TRC_SCHED_SWITCH_INFCONT = TRC_SCHED_VERBOSE + 17;
/** Xen 3's context switch; readers still know it. */
export const TRC_SCHED_SWITCH_OLD = 0x0002f00a;

/** Runstates as public/vcpu.h numbers them. */
export const RUNSTATE_RUNNING = 0;
export const RUNSTATE_RUNNABLE = 1;
export const RUNSTATE_BLOCKED = 2;
export const RUNSTATE_OFFLINE = 3;

/** Event of a change from runstate `from` to `to` (RUNSTATE_…); its data word is vcpu | domid << 16. */
export const runstateChangeEvent = (from: number, to: number): number => TRC_SCHED_RUNSTATE_CHANGE | (from << 8) | (to << 4);

/** Not in 4.4. */
export const TRC_DOM0_DOM_ADD = TRC_DOM0_DOMOPS + 1;
export const TRC_DOM0_DOM_REM = TRC_DOM0_DOMOPS + 2;

export const TRC_HVM_VMENTRY = TRC_HVM_ENTRYEXIT + 1;
/** Either vendor's exit up to 4.18; VMX only (TRC_HVM_VMX_EXIT) from 4.19. */
export const TRC_HVM_VMEXIT = TRC_HVM_ENTRYEXIT + 2;
export const TRC_HVM_VMEXIT64 = TRC_HVM_VMEXIT + TRC_64_FLAG;
/** From 4.19. */
export const TRC_HVM_SVM_EXIT = TRC_HVM_ENTRYEXIT + 3;
export const TRC_HVM_SVM_EXIT64 = TRC_HVM_SVM_EXIT + TRC_64_FLAG;

export const TRC_HVM_PF_XEN = TRC_HVM_HANDLER + 0x01;
export const TRC_HVM_PF_XEN64 = TRC_HVM_PF_XEN + TRC_64_FLAG;
export const TRC_HVM_PF_INJECT = TRC_HVM_HANDLER + 0x02;
export const TRC_HVM_PF_INJECT64 = TRC_HVM_PF_INJECT + TRC_64_FLAG;
export const TRC_HVM_INJ_EXC = TRC_HVM_HANDLER + 0x03;
export const TRC_HVM_INJ_VIRQ = TRC_HVM_HANDLER + 0x04;
export const TRC_HVM_REINJ_VIRQ = TRC_HVM_HANDLER + 0x05;
export const TRC_HVM_IO_READ = TRC_HVM_HANDLER + 0x06;
export const TRC_HVM_IO_WRITE = TRC_HVM_HANDLER + 0x07;
export const TRC_HVM_CR_READ = TRC_HVM_HANDLER + 0x08;
export const TRC_HVM_CR_READ64 = TRC_HVM_CR_READ + TRC_64_FLAG;
export const TRC_HVM_CR_WRITE = TRC_HVM_HANDLER + 0x09;
export const TRC_HVM_CR_WRITE64 = TRC_HVM_CR_WRITE + TRC_64_FLAG;
export const TRC_HVM_DR_READ = TRC_HVM_HANDLER + 0x0a;
export const TRC_HVM_DR_WRITE = TRC_HVM_HANDLER + 0x0b;
export const TRC_HVM_MSR_READ = TRC_HVM_HANDLER + 0x0c;
export const TRC_HVM_MSR_WRITE = TRC_HVM_HANDLER + 0x0d;
export const TRC_HVM_CPUID = TRC_HVM_HANDLER + 0x0e;
export const TRC_HVM_INTR = TRC_HVM_HANDLER + 0x0f;
export const TRC_HVM_NMI = TRC_HVM_HANDLER + 0x10;
export const TRC_HVM_SMI = TRC_HVM_HANDLER + 0x11;
export const TRC_HVM_VMMCALL = TRC_HVM_HANDLER + 0x12;
export const TRC_HVM_HLT = TRC_HVM_HANDLER + 0x13;
export const TRC_HVM_INVLPG = TRC_HVM_HANDLER + 0x14;
export const TRC_HVM_MCE = TRC_HVM_HANDLER + 0x15;
export const TRC_HVM_IOPORT_READ = TRC_HVM_HANDLER + 0x16;
export const TRC_HVM_IOMEM_READ = TRC_HVM_HANDLER + 0x17;
export const TRC_HVM_CLTS = TRC_HVM_HANDLER + 0x18;
export const TRC_HVM_LMSW = TRC_HVM_HANDLER + 0x19;
export const TRC_HVM_RDTSC = TRC_HVM_HANDLER + 0x1a;
export const TRC_HVM_INTR_WINDOW = TRC_HVM_HANDLER + 0x20;
export const TRC_HVM_NPF = TRC_HVM_HANDLER + 0x21;
export const TRC_HVM_REALMODE_EMULATE = TRC_HVM_HANDLER + 0x22;
export const TRC_HVM_TRAP = TRC_HVM_HANDLER + 0x23;
export const TRC_HVM_TRAP_DEBUG = TRC_HVM_HANDLER + 0x24;
export const TRC_HVM_VLAPIC = TRC_HVM_HANDLER + 0x25;
/** Not in 4.4. */
export const TRC_HVM_XCR_READ64 = TRC_HVM_HANDLER + TRC_64_FLAG + 0x26;
export const TRC_HVM_XCR_WRITE64 = TRC_HVM_HANDLER + TRC_64_FLAG + 0x27;
export const TRC_HVM_IOPORT_WRITE = TRC_HVM_HANDLER + TRC_HVM_WRITE_FLAG + 0x16;
export const TRC_HVM_IOMEM_WRITE = TRC_HVM_HANDLER + TRC_HVM_WRITE_FLAG + 0x17;

export const TRC_HVM_EMUL_HPET_START_TIMER = TRC_HVM_EMUL + 0x01;
export const TRC_HVM_EMUL_PIT_START_TIMER = TRC_HVM_EMUL + 0x02;
export const TRC_HVM_EMUL_RTC_START_TIMER = TRC_HVM_EMUL + 0x03;
export const TRC_HVM_EMUL_LAPIC_START_TIMER = TRC_HVM_EMUL + 0x04;
export const TRC_HVM_EMUL_HPET_STOP_TIMER = TRC_HVM_EMUL + 0x05;
export const TRC_HVM_EMUL_PIT_STOP_TIMER = TRC_HVM_EMUL + 0x06;
export const TRC_HVM_EMUL_RTC_STOP_TIMER = TRC_HVM_EMUL + 0x07;
export const TRC_HVM_EMUL_LAPIC_STOP_TIMER = TRC_HVM_EMUL + 0x08;
export const TRC_HVM_EMUL_PIT_TIMER_CB = TRC_HVM_EMUL + 0x09;
export const TRC_HVM_EMUL_LAPIC_TIMER_CB = TRC_HVM_EMUL + 0x0a;
export const TRC_HVM_EMUL_PIC_INT_OUTPUT = TRC_HVM_EMUL + 0x0b;
export const TRC_HVM_EMUL_PIC_KICK = TRC_HVM_EMUL + 0x0c;
export const TRC_HVM_EMUL_PIC_INTACK = TRC_HVM_EMUL + 0x0d;
export const TRC_HVM_EMUL_PIC_POSEDGE = TRC_HVM_EMUL + 0x0e;
export const TRC_HVM_EMUL_PIC_NEGEDGE = TRC_HVM_EMUL + 0x0f;
export const TRC_HVM_EMUL_PIC_PEND_IRQ_CALL = TRC_HVM_EMUL + 0x10;
export const TRC_HVM_EMUL_LAPIC_PIC_INTR = TRC_HVM_EMUL + 0x11;

export const TRC_MEM_PAGE_GRANT_MAP = TRC_MEM + 1;
export const TRC_MEM_PAGE_GRANT_UNMAP = TRC_MEM + 2;
export const TRC_MEM_PAGE_GRANT_TRANSFER = TRC_MEM + 3;
export const TRC_MEM_SET_P2M_ENTRY = TRC_MEM + 4;
export const TRC_MEM_DECREASE_RESERVATION = TRC_MEM + 5;
export const TRC_MEM_POD_POPULATE = TRC_MEM + 16;
export const TRC_MEM_POD_ZERO_RECLAIM = TRC_MEM + 17;
export const TRC_MEM_POD_SUPERPAGE_SPLINTER = TRC_MEM + 18;

export const TRC_PV_HYPERCALL = TRC_PV_ENTRY + 1;
export const TRC_PV_TRAP = TRC_PV_ENTRY + 3;
export const TRC_PV_PAGE_FAULT = TRC_PV_ENTRY + 4;
export const TRC_PV_FORCED_INVALID_OP = TRC_PV_ENTRY + 5;
export const TRC_PV_EMULATE_PRIVOP = TRC_PV_ENTRY + 6;
export const TRC_PV_EMULATE_4GB = TRC_PV_ENTRY + 7;
export const TRC_PV_MATH_STATE_RESTORE = TRC_PV_ENTRY + 8;
export const TRC_PV_PAGING_FIXUP = TRC_PV_ENTRY + 9;
export const TRC_PV_GDT_LDT_MAPPING_FAULT = TRC_PV_ENTRY + 10;
export const TRC_PV_PTWR_EMULATION = TRC_PV_ENTRY + 11;
export const TRC_PV_PTWR_EMULATION_PAE = TRC_PV_ENTRY + 12;
export const TRC_PV_HYPERCALL_V2 = TRC_PV_ENTRY + 13;
export const TRC_PV_HYPERCALL_SUBCALL = TRC_PV_SUBCALL + 14;

export const TRC_SHADOW_NOT_SHADOW = TRC_SHADOW + 1;
export const TRC_SHADOW_FAST_PROPAGATE = TRC_SHADOW + 2;
export const TRC_SHADOW_FAST_MMIO = TRC_SHADOW + 3;
export const TRC_SHADOW_FALSE_FAST_PATH = TRC_SHADOW + 4;
export const TRC_SHADOW_MMIO = TRC_SHADOW + 5;
export const TRC_SHADOW_FIXUP = TRC_SHADOW + 6;
export const TRC_SHADOW_DOMF_DYING = TRC_SHADOW + 7;
export const TRC_SHADOW_EMULATE = TRC_SHADOW + 8;
export const TRC_SHADOW_EMULATE_UNSHADOW_USER = TRC_SHADOW + 9;
export const TRC_SHADOW_EMULATE_UNSHADOW_EVTINJ = TRC_SHADOW + 10;
export const TRC_SHADOW_EMULATE_UNSHADOW_UNHANDLED = TRC_SHADOW + 11;
export const TRC_SHADOW_WRMAP_BF = TRC_SHADOW + 12;
export const TRC_SHADOW_PREALLOC_UNPIN = TRC_SHADOW + 13;
export const TRC_SHADOW_RESYNC_FULL = TRC_SHADOW + 14;
export const TRC_SHADOW_RESYNC_ONLY = TRC_SHADOW + 15;

export const TRC_PM_FREQ_CHANGE = TRC_HW_PM + 1;
export const TRC_PM_IDLE_ENTRY = TRC_HW_PM + 2;
export const TRC_PM_IDLE_EXIT = TRC_HW_PM + 3;

export const TRC_HW_IRQ_MOVE_CLEANUP_DELAY = TRC_HW_IRQ + 1;
export const TRC_HW_IRQ_MOVE_CLEANUP = TRC_HW_IRQ + 2;
export const TRC_HW_IRQ_BIND_VECTOR = TRC_HW_IRQ + 3;
export const TRC_HW_IRQ_CLEAR_VECTOR = TRC_HW_IRQ + 4;
export const TRC_HW_IRQ_MOVE_FINISH = TRC_HW_IRQ + 5;
export const TRC_HW_IRQ_ASSIGN_VECTOR = TRC_HW_IRQ + 6;
export const TRC_HW_IRQ_UNMAPPED_VECTOR = TRC_HW_IRQ + 7;
export const TRC_HW_IRQ_HANDLED = TRC_HW_IRQ + 8;

/** The idle domain's id; vcpu n of it idles pCPU n. */
export const DOMID_IDLE = 0x7fff;
