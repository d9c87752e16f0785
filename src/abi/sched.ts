/** SHUTDOWN_* reasons (public/sched.h). Ours: `halted`, the last vCPU executed HLT with interrupts off; `interrupted`, the toolstack gave up; `inspected`, it gave up and wants to see the vCPU. */
export const ShutdownReason = {
  poweroff: 0,
  reboot: 1,
  suspend: 2,
  crash: 3,
  watchdog: 4,
  softReset: 5,
  halted: 0x80,
  interrupted: 0x81,
  inspected: 0x82,
} as const;
