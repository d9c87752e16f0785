/** Events at a 32-bit guest on the whole machine: interrupts around device accesses, and tasks switched by hardware. */
import { describe, expect, it } from 'vitest';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { assemble } from '../src/machine/tiny-guest/assembler.ts';
import { plainGuest, powerOff } from './plain-guest.ts';

const GDT = 0x200000;
const IDT = 0x200800;
const MAIN = 0x201000;
const HANDLER = 0x202000;
const TSS_MAIN = 0x203000;
const TSS_OTHER = 0x203100;
const OTHER = 0x204000;
const OTHER_STACK = 0x206000;
const RESULT = 0x80000;
const [CODE, DATA, MAIN_TASK, OTHER_TASK] = [0x08, 0x10, 0x18, 0x20];

type Poke = (address: number, ...words: number[]) => void;

const descriptor = (base: number, limit: number, access: number, flags: number): [number, number] => [
  ((base << 16) | (limit & 0xffff)) >>> 0,
  ((base & 0xff000000) | (flags << 20) | (limit & 0xf0000) | (access << 8) | ((base >>> 16) & 0xff)) >>> 0,
];
const interruptGate = (handler: number): [number, number] => [
  ((CODE << 16) | (handler & 0xffff)) >>> 0,
  ((handler & 0xffff0000) | 0x8e00) >>> 0,
];
const taskGate = (selector: number): [number, number] => [(selector << 16) >>> 0, 0x8500];

/** Words of a 32-bit TSS for a task with its own stack. */
function tss(eip: number, esp: number): number[] {
  const words = new Array<number>(26).fill(0);
  words[8] = eip;
  words[9] = 2;
  words[14] = esp;
  for (const i of [18, 20, 21, 22, 23]) words[i] = DATA;
  words[19] = CODE;
  words[25] = 0x68 << 16;
  return words;
}

interface Outcome {
  readonly machine: InlineMachine;
  readonly reason: number;
  readonly log: string;
  /** 32-bit words from RESULT on. */
  readonly words: number[];
  /** A 32-bit word of guest memory. */
  word(address: number): number;
}

/** Flat code at `MAIN`, with the GDT and a 256-gate IDT loaded; `prepare` fills in gates and tasks. */
function run(
  main: string,
  prepare: (poke: Poke) => void,
  parts: Readonly<Record<number, string>> = {},
  idtLimit = 0x7ff,
): Outcome {
  const log: string[] = [];
  const boot = `lgdt [${GDT + 0x700}]\nlidt [${GDT + 0x710}]\nmov esp, 0x90000\njmp far ${CODE}:${MAIN}\n`;
  const machine = new InlineMachine(
    {
      name: 'events',
      clock: 'virtual',
      nics: [],
      engine: engineFactory(),
      domain: {
        memoryMiB: 8,
        vcpus: 1,
        type: 'hvm',
        kernel: { kind: 'elf', elf: readElf(plainGuest(boot)) },
        commandLine: '',
        hpet: true,
      },
    },
    { logger: { debug() {}, info() {}, warn: (text) => void log.push(text) } },
  );
  const at = (address: number): number => machine.p2m.ramAddress(address as never);
  const poke: Poke = (address, ...words) => words.forEach((value, i) => (machine.memory.u32[at(address + i * 4) >>> 2] = value));
  const bytes = (address: number, code: Uint8Array): void =>
    code.forEach((byte, i) => (machine.memory.u8[at(address + i)] = byte));
  poke(
    GDT + CODE,
    ...descriptor(0, 0xfffff, 0x9b, 0xc),
    ...descriptor(0, 0xfffff, 0x93, 0xc),
    ...descriptor(TSS_MAIN, 0x67, 0x89, 0),
    ...descriptor(TSS_OTHER, 0x67, 0x89, 0),
  );
  poke(GDT + 0x700, (0x27 | (GDT << 16)) >>> 0, GDT >>> 16);
  poke(GDT + 0x710, (idtLimit | (IDT << 16)) >>> 0, IDT >>> 16);
  poke(TSS_OTHER, ...tss(OTHER, OTHER_STACK));
  prepare(poke);
  bytes(
    MAIN,
    assemble(32, MAIN, `mov ax, ${DATA}\nmov ds, ax\nmov es, ax\nmov ss, ax\nmov ax, ${MAIN_TASK}\nltr ax\n${main}\n${powerOff}`),
  );
  for (const [address, source] of Object.entries(parts)) bytes(Number(address), assemble(32, Number(address), source));
  machine.run(5e9);
  const word = (address: number): number => machine.memory.u32[at(address) >>> 2]!;
  return {
    machine,
    reason: machine.domain.shutdownReason,
    log: log.join('\n'),
    words: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => word(RESULT + i * 4)),
    word,
  };
}

const APIC_ON = 'mov dword [0xfee000f0], 0x1ff\n';
const SELF_INTERRUPT = 'mov dword [0xfee00300], 0x44040\n';
const SELF_NMI = 'mov dword [0xfee00300], 0x44400\n';

describe('an interrupt that a register write raises', () => {
  it('comes once, behind the instruction', () => {
    const { reason, words } = run(
      `${APIC_ON}sti\n${SELF_INTERRUPT}mov dword [${RESULT + 8}], 7\ncli`,
      (poke) => poke(IDT + 0x40 * 8, ...interruptGate(HANDLER)),
      {
        [HANDLER]: `inc dword [${RESULT}]\nmov eax, [esp]\nmov [${RESULT + 4}], eax\nmov dword [0xfee000b0], 0\niretd`,
      },
    );
    const before = assemble(
      32,
      MAIN,
      `mov ax, ${DATA}\nmov ds, ax\nmov es, ax\nmov ss, ax\nmov ax, ${MAIN_TASK}\nltr ax\n${APIC_ON}sti\n${SELF_INTERRUPT}`,
    ).length;
    expect([reason, words[0], words[1], words[2]]).toEqual([0, 1, MAIN + before, 7]);
  });

  it("waits for STI's shadow when the write is in it", () => {
    const { reason, words } = run(
      `${APIC_ON}mov ecx, 5\n${SELF_INTERRUPT}sti\nmov [0xfee00080], ecx\nmov [0xfee00080], ecx\ncli`,
      (poke) => poke(IDT + 0x40 * 8, ...interruptGate(HANDLER)),
      {
        [HANDLER]: `inc dword [${RESULT}]\nmov dword [0xfee000b0], 0\niretd`,
      },
    );
    expect([reason, words[0]]).toEqual([0, 1]);
  });
});

describe('task switches by hardware', () => {
  const other = (rest: string): Record<number, string> => ({
    [OTHER]: `again:\nmov eax, [esp]\nmov [${RESULT}], eax\nmov [${RESULT + 4}], esp\nstr eax\nmov [${RESULT + 8}], eax\nmov eax, cr0\nmov [${RESULT + 12}], eax\npushfd\npop eax\nmov [${RESULT + 16}], eax\ninc dword [${RESULT + 20}]\n${rest}`,
  });

  it('a double fault through a task gate: the task runs on its own stack, with the error code there', () => {
    // No gate beyond vector 8: the fault of INT 9 cannot be delivered.
    const { reason, words, word } = run(
      'xor esp, esp\nint 9',
      (poke) => poke(IDT + 8 * 8, ...taskGate(OTHER_TASK)),
      other(powerOff),
      8 * 8 + 7,
    );
    expect(reason).toBe(0);
    expect([words[0], words[1], words[2]]).toEqual([0, OTHER_STACK - 4, OTHER_TASK]);
    expect([words[3]! & 8, words[4]! & 0x4000]).toEqual([8, 0x4000]);
    // What the main task was: behind nothing, ESP 0, and both TSSs busy.
    expect([word(TSS_OTHER) & 0xffff, word(TSS_MAIN + 14 * 4), word(TSS_MAIN + 19 * 4)]).toEqual([MAIN_TASK, 0, CODE]);
    expect([word(GDT + MAIN_TASK + 4) & 0xf00, word(GDT + OTHER_TASK + 4) & 0xf00]).toEqual([0xb00, 0xb00]);
  });

  it('INT n there and IRET back, twice', () => {
    const { reason, words, word } = run(
      `mov ebx, 0x1234\nint 0x30\nint 0x30\nmov [${RESULT + 24}], ebx\nstr eax\nmov [${RESULT + 28}], eax`,
      (poke) => poke(IDT + 0x30 * 8, ...taskGate(OTHER_TASK)),
      other('mov ebx, 0\niretd\njmp again'),
    );
    expect([reason, words[1], words[5], words[6], words[7]]).toEqual([0, OTHER_STACK, 2, 0x1234, MAIN_TASK]);
    expect([word(GDT + MAIN_TASK + 4) & 0xf00, word(GDT + OTHER_TASK + 4) & 0xf00]).toEqual([0xb00, 0x900]);
  });

  it('an NMI through a task gate: the next one waits for the IRET', () => {
    const { reason, words } = run(
      `${APIC_ON}${SELF_NMI}mov dword [${RESULT + 24}], 1`,
      (poke) => poke(IDT + 2 * 8, ...taskGate(OTHER_TASK)),
      other(
        `cmp dword [${RESULT + 20}], 1\njne out\n${SELF_NMI}mov eax, [${RESULT + 20}]\nmov [${RESULT + 28}], eax\nout:\niretd\njmp again`,
      ),
    );
    // Counted to 1 inside the first, whose own NMI came after it.
    expect([reason, words[5], words[6], words[7]]).toEqual([0, 2, 1, 1]);
  });

  it('far CALL there and IRET back, far JMP there and JMP back', () => {
    const prepare = (): void => {};
    const call = run(`call far ${OTHER_TASK}:0\nstr eax\nmov [${RESULT + 28}], eax`, prepare, other('iretd\njmp again'));
    expect([call.reason, call.words[5], call.words[4]! & 0x4000, call.words[7]]).toEqual([0, 1, 0x4000, MAIN_TASK]);
    expect([call.word(TSS_OTHER) & 0xffff, call.word(GDT + OTHER_TASK + 4) & 0xf00]).toEqual([MAIN_TASK, 0x900]);
    const jump = run(`jmp far ${OTHER_TASK}:0\nstr eax\nmov [${RESULT + 28}], eax`, prepare, other(`jmp far ${MAIN_TASK}:0`));
    expect([jump.reason, jump.words[5], jump.words[4]! & 0x4000, jump.words[7]]).toEqual([0, 1, 0, MAIN_TASK]);
    expect([
      jump.word(TSS_OTHER) & 0xffff,
      jump.word(GDT + MAIN_TASK + 4) & 0xf00,
      jump.word(GDT + OTHER_TASK + 4) & 0xf00,
    ]).toEqual([0, 0xb00, 0x900]);
  });

  it('a task in virtual-8086 mode, whose LDT is a protected-mode one all the same', () => {
    const ldt = (poke: Poke): void => {
      poke(GDT + 0x28, ...descriptor(0x205000, 0xf, 0x82, 0));
      poke(GDT + 0x700, (0x2f | (GDT << 16)) >>> 0);
      poke(IDT + 13 * 8, ...taskGate(MAIN_TASK)); // busy: never taken
      poke(IDT + 6 * 8, ...interruptGate(HANDLER));
      poke(TSS_OTHER + 4, 0x90000, DATA);
      poke(TSS_OTHER + 8 * 4, 0x20, 0x20002); // EIP, EFLAGS.VM
      for (const i of [18, 19, 20, 21, 22, 23]) poke(TSS_OTHER + i * 4, 0x1000);
      poke(TSS_OTHER + 24 * 4, 0x28);
      poke(0x10020, 0x0b0fd88c); // mov ax, ds; ud2
    };
    const { reason, words } = run(`jmp far ${OTHER_TASK}:0`, ldt, {
      [HANDLER]: `mov ecx, ${DATA}\nmov ds, cx\nmov [${RESULT}], eax\nmov eax, [esp + 8]\nmov [${RESULT + 4}], eax\nmov eax, [esp]\nmov [${RESULT + 8}], eax\nsldt eax\nmov [${RESULT + 12}], eax\n${powerOff}`,
    });
    expect([reason, words[0]! & 0xffff, words[1]! & 0x20000, words[2], words[3]]).toEqual([0, 0x1000, 0x20000, 0x22, 0x28]);
  });

  it.each([
    ['a data segment of an inner ring: #TS', 21, 0x1b, 10, 0x18],
    ['a stack segment that is not there: #SS', 20, 0x30, 12, 0x30],
    ['a data segment that is not there: #NP', 21, 0x30, 11, 0x30],
    ['a selector past the GDT: #TS', 22, 0x200, 10, 0x200],
    ['a null code segment: #TS', 19, 0, 10, 0],
  ])('a new task with %s', (_name, field, selector, vector, error) => {
    const { reason, words } = run(
      `jmp far ${OTHER_TASK}:0`,
      (poke) => {
        poke(GDT + 0x30, ...descriptor(0, 0xfffff, 0x13, 0xc));
        poke(GDT + 0x700, (0x37 | (GDT << 16)) >>> 0);
        poke(TSS_OTHER + field * 4, selector);
        poke(IDT + vector * 8, ...interruptGate(HANDLER));
      },
      {
        [HANDLER]: `pop eax\nmov ecx, ${DATA}\nmov ds, cx\nmov [${RESULT}], eax\nstr eax\nmov [${RESULT + 4}], eax\n${powerOff}`,
      },
    );
    // The exception is the new task's.
    expect([reason, words[0], words[1]]).toEqual([0, error, OTHER_TASK]);
  });

  it('the trap bit of a TSS: #DB with DR6.BT before its first instruction', () => {
    const { machine, reason, words } = run(
      `jmp far ${OTHER_TASK}:0`,
      (poke) => {
        poke(TSS_OTHER + 25 * 4, ((0x68 << 16) | 1) >>> 0);
        poke(IDT + 8, ...interruptGate(HANDLER));
      },
      { [HANDLER]: `mov eax, [esp]\nmov [${RESULT}], eax\n${powerOff}` },
    );
    expect([reason, words[0], machine.hvm.engine.registers.getDr(6) & 0xe00fn]).toEqual([0, OTHER, 0x8000n]);
  });

  it('a task gate to a busy TSS is #GP(selector), and where that cannot be delivered either a triple fault', () => {
    const gp = run(
      'int 0x30',
      (poke) => {
        poke(IDT + 0x30 * 8, ...taskGate(MAIN_TASK));
        poke(IDT + 13 * 8, ...interruptGate(HANDLER));
      },
      { [HANDLER]: `pop eax\nmov [${RESULT}], eax\n${powerOff}` },
    );
    expect([gp.reason, gp.words[0]]).toEqual([0, MAIN_TASK]);
    const triple = run('ud2', (poke) => [6, 8, 13].forEach((vector) => poke(IDT + vector * 8, ...taskGate(MAIN_TASK))));
    expect([triple.reason, /Triple fault/.test(triple.log)]).toEqual([3, true]);
  });

  it('a TSS where no RAM is: the guest dies, in one line', () => {
    const { reason, log } = run('int 0x30', (poke) => {
      poke(IDT + 0x30 * 8, ...taskGate(OTHER_TASK));
      poke(GDT + OTHER_TASK, ...descriptor(0xf0000000, 0x67, 0x89, 0));
    });
    expect([reason, /task switch to selector 0x20: no RAM at gpa 0xf0000000/.test(log)]).toEqual([3, true]);
  });
});
