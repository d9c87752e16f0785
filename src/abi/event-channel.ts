/** 2-level event channels in shared_info, 64-bit layout. Source: public/xen.h, common/event_2l.c. */

export const SHARED_INFO_VCPU_INFO = 0;
export const VCPU_INFO_SIZE = 64;
export const VCPU_INFO_UPCALL_PENDING = 0; // u8
export const VCPU_INFO_PENDING_SEL = 8; // u64
export const VCPU_INFO_TIME = 32; // struct vcpu_time_info, 32 bytes
export const SHARED_INFO_EVTCHN_PENDING = 32 * VCPU_INFO_SIZE; // 512 bytes
export const SHARED_INFO_EVTCHN_MASK = SHARED_INFO_EVTCHN_PENDING + 512; // 512 bytes
export const SHARED_INFO_WALLCLOCK = SHARED_INFO_EVTCHN_MASK + 512; // u32 version, u32 sec, u32 nsec
export const EVTCHN_2L_NR_CHANNELS = 4096;

export const EvtchnOp = {
  bindInterdomain: 0,
  bindVirq: 1,
  bindPirq: 2,
  close: 3,
  send: 4,
  status: 5,
  allocUnbound: 6,
  bindIpi: 7,
  bindVcpu: 8,
  unmask: 9,
  reset: 10,
  initControl: 11,
  expandArray: 12,
  setPriority: 13,
} as const;
