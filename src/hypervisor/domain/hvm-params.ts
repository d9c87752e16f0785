/** HVM_PARAM_* (public/hvm/params.h). */
export const HvmParam = {
  callbackIrq: 0,
  storePfn: 1,
  storeEvtchn: 2,
  ioreqPfn: 5,
  bufioreqPfn: 6,
  viridian: 9,
  timerMode: 10,
  hpetEnabled: 11,
  identPt: 12,
  acpiSState: 14,
  vm86Tss: 15,
  vptAlign: 16,
  consolePfn: 17,
  consoleEvtchn: 18,
  acpiIoportsLocation: 19,
  nestedhvm: 24,
  bufioreqEvtchn: 26,
  pagingRingPfn: 27,
  monitorRingPfn: 28,
  sharingRingPfn: 29,
  tripleFaultReason: 31,
  ioreqServerPfn: 32,
  nrIoreqServerPages: 33,
  vmGenerationIdAddr: 34,
  altp2m: 35,
  x87FipWidth: 36,
  vm86TssSized: 37,
  mcaCap: 38,
} as const;

/** First frame past the special pages: X86_HVM_END_SPECIAL_REGION. */
export const END_SPECIAL_REGION = 0xff000;
/** Special pages, as offsets from the first of the eight (xg_dom_x86.c). */
export const SpecialPage = {
  paging: 0,
  access: 1,
  sharing: 2,
  bufioreq: 3,
  xenstore: 4,
  ioreq: 5,
  identPt: 6,
  console: 7,
} as const;
export const NR_SPECIAL_PAGES = 8;
/** Guest frame of a special page. */
export const specialPfn = (page: number): number => END_SPECIAL_REGION - NR_SPECIAL_PAGES + page;
