/** Guests of a few instructions: a plain 32-bit ELF around assembled code, entered in flat 32-bit mode or led on to long mode. */
import { lapicRegisters } from '../src/abi/registers/lapic.ts';
import { assemble } from '../src/machine/tiny-guest/assembler.ts';

const PLAIN_ENTRY = 0x100000;
const HEADERS = 52 + 2 * 32;
const NOTE_PHYS32_ENTRY = 18;

/** A 32-bit ELF whose code begins at 1 MiB; `pvhSource` is entered by a PVH note and lies a page further on. */
export function plainGuest(source: string, pvhSource?: string): Uint8Array {
  const code = assemble(32, PLAIN_ENTRY, source);
  if (pvhSource === undefined) return elf(code);
  const other = assemble(32, PLAIN_ENTRY + 0x1000, pvhSource);
  if (code.length > 0x1000) throw new Error('plain guest: more than a page of code');
  const image = new Uint8Array(0x1000 + other.length);
  image.set(code);
  image.set(other, 0x1000);
  return elf(image, PLAIN_ENTRY + 0x1000);
}

/** An image that lies at 1 MiB and is entered at its first byte, and by its PVH note at `pvhEntry`. */
function elf(image: Uint8Array, pvhEntry?: number): Uint8Array {
  const file = new Uint8Array(0x1000 + image.length);
  file.set(image, 0x1000);
  const view = new DataView(file.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((value, i) => view.setUint32(at + i * 4, value, true));
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  words(20, 1, PLAIN_ENTRY, 52, 0, 0);
  [52, 32, pvhEntry === undefined ? 1 : 2].forEach((value, i) => view.setUint16(40 + i * 2, value, true));
  words(52, 1, 0x1000, PLAIN_ENTRY, PLAIN_ENTRY, image.length, image.length, 7, 0x1000);
  if (pvhEntry !== undefined) {
    words(84, 4, HEADERS, 0, 0, 20, 20, 4, 4);
    words(HEADERS, 4, 4, NOTE_PHYS32_ENTRY, 0x006e6558, pvhEntry);
  }
  return file;
}

const LAPIC_BASE = 0xfee0_0000;
/** Bits of APIC_LVTT beside the vector. */
export const LVTT_PERIODIC = 1 << 17;
export const LVTT_TSC_DEADLINE = 2 << 17;

/** Code in long mode that writes a register of the local APIC, named as in its table; EAX is lost. */
export function lapic(register: string, value: number): string {
  const found = lapicRegisters.find(({ name }) => name === register);
  if (found === undefined) throw new Error(`the local APIC has no register ${register}`);
  return `mov eax, ${LAPIC_BASE + found.offset}\nmov dword [rax], ${value}\n`;
}

/** Code in long mode that turns the local APIC on, spurious vector 0xff. */
export const lapicOn = lapic('APIC_SPIV', 0x1ff);

/** Code in long mode that turns the local APIC on and starts its timer: LVTT, then the initial count, at divisor 1. */
export const lapicTimer = (lvtt: number, count: number): string =>
  `${lapicOn}${lapic('APIC_TDCR', 0xb)}${lapic('APIC_LVTT', lvtt)}${lapic('APIC_TMICT', count)}`;

/** Code in long mode: sched_op shutdown for a reason, its argument at guest address 0x80000. */
export const shutDown = (reason: number): string =>
  `mov dword [0x80000], ${reason}\nmov eax, 29\nmov edi, 2\nmov esi, 0x80000\nvmcall\nhlt\n`;

/** Where a guest in long mode has its parts. */
export const LongGuest = {
  code: 0x101000,
  /** Entered by every exception, with vector and error code on the stack below the frame; and by every interrupt, with the frame alone. */
  exception: 0x108400,
  interrupt: 0x108800,
  idt: 0x109000,
  /** PML4, PDPT, four page directories: the first 4 GiB by 2 MiB, identity. */
  pageTables: 0x10a000,
  pml4: 0x10a000,
  pdpt: 0x10b000,
  pageDirectory: 0x10c000,
  stack: 0x90000,
  /** What the default exception handler leaves: vector, error code, RIP, CR2, 8 bytes each; then the count of interrupts. */
  exceptionRecord: 0x88000,
  interrupts: 0x88020,
} as const;

/** Exceptions with an error code (SDM vol. 3A table 6-1). */
const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Notes what happened and powers off. */
const recordException = `
  pop rax
  mov [${LongGuest.exceptionRecord}], rax
  pop rax
  mov [${LongGuest.exceptionRecord + 8}], rax
  pop rax
  mov [${LongGuest.exceptionRecord + 16}], rax
  mov rax, cr2
  mov [${LongGuest.exceptionRecord + 24}], rax
  mov edx, 0xb004
  mov eax, 0x2000
  out dx, ax
  hlt
`;
/** Counts, and ends the interrupt at the local APIC and the first 8259. */
const countInterrupt = `
  push rax
  inc dword [${LongGuest.interrupts}]
  mov al, 0x20
  out 0x20, al
  mov eax, 0
  mov [0xfee000b0], eax
  pop rax
  iretq
`;

/** A guest in long mode at CPL 0, identity mapped, with an IDT; `exception` and `interrupt` stand in for the default handlers. */
export function longGuest(
  source: string,
  handlers: { readonly exception?: string; readonly interrupt?: string } = {},
): Uint8Array {
  const end = LongGuest.pageTables + 6 * 0x1000;
  const image = new Uint8Array(end - PLAIN_ENTRY);
  const view = new DataView(image.buffer);
  const put = (at: number, bytes: ArrayLike<number>, limit: number): void => {
    if (at + bytes.length > limit) throw new Error(`long guest: code at 0x${at.toString(16)} runs into 0x${limit.toString(16)}`);
    image.set(bytes, at - PLAIN_ENTRY);
  };
  const gdt = PLAIN_ENTRY + 0x800;
  put(
    PLAIN_ENTRY,
    assemble(
      32,
      PLAIN_ENTRY,
      `
    cli
    mov eax, ${LongGuest.pml4}
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, cr0
    or eax, 0x80000002
    and eax, -5
    mov cr0, eax
    lgdt [${gdt + 0x20}]
    jmp far 0x8:${LongGuest.code}
  `,
    ),
    gdt,
  );
  put(gdt, [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9a, 0xaf, 0, 0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0], gdt + 0x20);
  view.setUint16(gdt + 0x20 - PLAIN_ENTRY, 23, true);
  view.setUint32(gdt + 0x22 - PLAIN_ENTRY, gdt, true);
  view.setUint16(gdt + 0x30 - PLAIN_ENTRY, 0xfff, true);
  view.setUint32(gdt + 0x32 - PLAIN_ENTRY, LongGuest.idt, true);
  put(
    LongGuest.code,
    assemble(
      64,
      LongGuest.code,
      `
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, ${LongGuest.stack}
    lidt [${gdt + 0x30}]
    ${source}
  `,
    ),
    0x108000,
  );
  for (let vector = 0; vector < 256; vector++) {
    const stub = 0x108000 + vector * 16;
    const isException = vector < 32;
    if (isException) {
      const lead = HAS_ERROR_CODE.has(vector) ? [] : [0x6a, 0];
      const jump = stub + lead.length + 2;
      const rel = LongGuest.exception - (jump + 5);
      put(stub, [...lead, 0x6a, vector, 0xe9, rel & 0xff, (rel >> 8) & 0xff, (rel >> 16) & 0xff, rel >>> 24], stub + 16);
    }
    const handler = isException ? stub : LongGuest.interrupt;
    const gate = LongGuest.idt + vector * 16 - PLAIN_ENTRY;
    view.setUint32(gate, (8 << 16) | (handler & 0xffff), true);
    view.setUint32(gate + 4, (handler & 0xffff0000) | 0x8e00, true);
  }
  put(LongGuest.exception, assemble(64, LongGuest.exception, handlers.exception ?? recordException), LongGuest.interrupt);
  put(LongGuest.interrupt, assemble(64, LongGuest.interrupt, handlers.interrupt ?? countInterrupt), LongGuest.idt);
  view.setUint32(LongGuest.pml4 - PLAIN_ENTRY, LongGuest.pdpt | 7, true);
  for (let i = 0; i < 4; i++)
    view.setUint32(LongGuest.pdpt + i * 8 - PLAIN_ENTRY, (LongGuest.pageDirectory + i * 0x1000) | 7, true);
  for (let i = 0; i < 2048; i++) view.setUint32(LongGuest.pageDirectory + i * 8 - PLAIN_ENTRY, i * 0x200000 + 0x87, true);
  return elf(image);
}

/** Print a character to a port, and power off by PM1a control. */
export const print = (text: string, port = 0xe9): string =>
  [...text].map((c) => `mov al, ${c.charCodeAt(0)}\nmov edx, ${port}\nout dx, al\n`).join('');
export const powerOff = 'mov edx, 0xb004\nmov eax, 0x2000\nout dx, ax\nhlt\n';

/** An interrupt handler that counts, says so after `most` of them, and powers off. `end`: what ends an interrupt. */
export const countInterrupts = (most: number, end = ''): string => `
  ${end}
  inc dword [${LongGuest.interrupts}]
  mov eax, [${LongGuest.interrupts}]
  cmp eax, ${most}
  jae enough
  iretq
enough:
  ${print('storm\n')}
  ${powerOff}
`;

/** For a long guest: the IDT lies behind a page table at this address, and then an exception comes. */
export const idtBehind = (pageTable: number): string => `
  mov eax, ${pageTable + 7}
  mov [${LongGuest.pdpt + 8}], rax
  mov rax, cr3
  mov cr3, rax
  mov word [0x80000], 0xfff
  mov dword [0x80002], 0x40000000
  mov dword [0x80006], 0
  lidt [0x80000]
  ud2
`;
