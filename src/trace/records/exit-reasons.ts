/**
 * Names of exit reasons: Intel SDM volume 3, appendix C (as Xen's vmx.h spells them) and AMD APM volume 2, appendix C
 * (as xenalyze prints them).
 */

/** Index = basic exit reason. Holes are reserved numbers. */
export const VMX_EXIT_REASONS: readonly (string | undefined)[] = [
  'EXCEPTION_NMI',
  'EXTERNAL_INTERRUPT',
  'TRIPLE_FAULT',
  'INIT',
  'SIPI',
  'IO_SMI',
  'OTHER_SMI',
  'PENDING_INTERRUPT',
  'PENDING_VIRT_NMI',
  'TASK_SWITCH',
  'CPUID',
  'GETSEC',
  'HLT',
  'INVD',
  'INVLPG',
  'RDPMC',
  'RDTSC',
  'RSM',
  'VMCALL',
  'VMCLEAR',
  'VMLAUNCH',
  'VMPTRLD',
  'VMPTRST',
  'VMREAD',
  'VMRESUME',
  'VMWRITE',
  'VMOFF',
  'VMON',
  'CR_ACCESS',
  'DR_ACCESS',
  'IO_INSTRUCTION',
  'MSR_READ',
  'MSR_WRITE',
  'INVALID_GUEST_STATE',
  'MSR_LOADING',
  undefined,
  'MWAIT_INSTRUCTION',
  'MONITOR_TRAP_FLAG',
  undefined,
  'MONITOR_INSTRUCTION',
  'PAUSE_INSTRUCTION',
  'MACHINE_CHECK',
  undefined,
  'TPR_BELOW_THRESHOLD',
  'APIC_ACCESS',
  'EOI_INDUCED',
  'ACCESS_GDTR_OR_IDTR',
  'ACCESS_LDTR_OR_TR',
  'EPT_VIOLATION',
  'EPT_MISCONFIG',
  'INVEPT',
  'RDTSCP',
  'VMX_PREEMPTION_TIMER_EXPIRED',
  'INVVPID',
  'WBINVD',
  'XSETBV',
  'APIC_WRITE',
  'RDRAND',
  'INVPCID',
  'VMFUNC',
  'ENCLS',
  'RDSEED',
  'PML_FULL',
  'XSAVES',
  'XRSTORS',
  undefined,
  undefined,
  'UMWAIT',
  'TPAUSE',
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  'BUS_LOCK',
  'NOTIFY',
];

/** xenalyze 4.17 knows reasons 0 to 55, and of those has no name for these. */
export const VMX_REASONS_OF_XENALYZE = 56;
export const VMX_UNNAMED_BY_XENALYZE: ReadonlySet<number> = new Set([45, 46, 47]);

function svmNames(): (string | undefined)[] {
  const names: (string | undefined)[] = new Array<string | undefined>(1025).fill(undefined);
  for (let n = 0; n < 16; n++) {
    names[n] = `VMEXIT_CR${n}_READ`;
    names[16 + n] = `VMEXIT_CR${n}_WRITE`;
    names[32 + n] = `VMEXIT_DR${n}_READ`;
    names[48 + n] = `VMEXIT_DR${n}_WRITE`;
  }
  'DE DB NMI BP OF BR UD NM DF 09 TS NP SS GP PF 15 MF AC MC XF 20 21 22 23 24 25 26 27 28 29 30 31'
    .split(' ')
    .forEach((name, n) => {
      names[64 + n] = `VMEXIT_EXCEPTION_${name}`;
    });
  (
    'INTR NMI SMI INIT VINTR CR0_SEL_WRITE IDTR_READ GDTR_READ LDTR_READ TR_READ IDTR_WRITE GDTR_WRITE LDTR_WRITE TR_WRITE ' +
    'RDTSC RDPMC PUSHF POPF CPUID RSM IRET SWINT INVD PAUSE HLT INVLPG INVLPGA IOIO MSR TASK_SWITCH FERR_FREEZE SHUTDOWN ' +
    'VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT RDTSCP ICEBP WBINVD MONITOR MWAIT MWAIT_CONDITIONAL'
  )
    .split(' ')
    .forEach((name, n) => {
      names[96 + n] = `VMEXIT_${name}`;
    });
  names[1024] = 'VMEXIT_NPF';
  return names;
}

/** Index = exit code, 0 to 1024 (nested page fault), as xenalyze knows them. */
export const SVM_EXIT_REASONS_OF_XENALYZE: readonly (string | undefined)[] = svmNames();

const svmLater: Readonly<Record<number, string>> = {
  141: 'VMEXIT_XSETBV',
  142: 'VMEXIT_RDPRU',
  143: 'VMEXIT_EFER_WRITE_TRAP',
  162: 'VMEXIT_INVLPGB',
  163: 'VMEXIT_INVLPGB_ILLEGAL',
  164: 'VMEXIT_INVPCID',
  165: 'VMEXIT_MCOMMIT',
  166: 'VMEXIT_TLBSYNC',
  167: 'VMEXIT_BUSLOCK',
  168: 'VMEXIT_IDLE_HLT',
  1025: 'VMEXIT_AVIC_INCOMPLETE_IPI',
  1026: 'VMEXIT_AVIC_NOACCEL',
  1027: 'VMEXIT_VMGEXIT',
  4294967295: 'VMEXIT_INVALID',
};

export type Vendor = 'vmx' | 'svm';

/** Name of an exit reason of either vendor, or null where the number is reserved. Flags above bit 15 of VMX are ignored. */
export function exitReasonName(vendor: Vendor, reason: number): string | null {
  if (vendor === 'vmx') return VMX_EXIT_REASONS[reason & 0xffff] ?? null;
  return SVM_EXIT_REASONS_OF_XENALYZE[reason] ?? svmLater[reason] ?? null;
}
