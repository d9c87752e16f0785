/** Names of the helpers that FpuHelpers binds. */
export const FPU_HELPER_NAMES = [
  'x87',
  'x87Stored',
  'x87Environment',
  'fwait',
  'x87NotAvailable',
  'mmxNotAvailable',
  'sseNotAvailable',
  'fxsave',
  'fxrstor',
  'fxsaveMisaligned',
  'mxcsrReserved',
  'sseExact',
  'sseCompare',
  'maskedStore',
] as const;
export type FpuHelperName = (typeof FPU_HELPER_NAMES)[number];
