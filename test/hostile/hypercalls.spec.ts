/** Guests that hand the hypervisor pointers, lengths, counts and ports of every kind, from the real vCPU. */
import { describe, expect, it } from 'vitest';
import { gfn } from '../../src/base/address.ts';
import { countInterrupts, longGuest, LongGuest, powerOff, print, shutDown } from '../plain-guest.ts';
import { BAR, ioreqFramesInP2m, RAM_END, runHostile } from './machine.ts';

/** A structure the guest fills before each call, a list of calls to make, results. */
const STRUCT = 0x80000;
const TABLE = 0x300000;

const pointers = [
  0n,
  BigInt(STRUCT),
  BigInt(STRUCT + 0xffc),
  0x9fffcn,
  0xb8000n,
  BigInt(BAR),
  0xfee00000n,
  0x70000000n,
  BigInt(RAM_END - 4),
  0x1_0000_0000n,
  0x8000_0000_0000n,
  0xffff_8000_0000_0000n,
  0xffff_ffff_ffff_fff8n,
];
const fills = [
  0n,
  1n,
  0x7ff0n,
  0x1_0000_7ff0n,
  0x5_0000_7ff0n,
  0x1f_0000_7ff0n,
  0x7fff_ffff_7ff0n,
  0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
];

/** Makes every call of the table: number, four arguments, and what its structure is full of. */
const callAll = (count: number): string => `
  mov ebx, ${TABLE}
  mov ebp, ${count}
  cld
next_call:
  mov edi, ${STRUCT}
  mov ecx, 64
  mov rax, [rbx + 40]
  rep stosq
  mov rax, [rbx]
  mov rdi, [rbx + 8]
  mov rsi, [rbx + 16]
  mov rdx, [rbx + 24]
  mov r10, [rbx + 32]
  vmcall
  mov [rbx + 40], rax
  add ebx, 48
  dec ebp
  jne next_call
  ${print('alive\n')}
  ${powerOff}
`;

/** Runs these calls; gives their results. */
function make(calls: readonly (readonly [number, bigint, bigint, bigint, bigint, bigint])[]): {
  results: bigint[];
  run: ReturnType<typeof runHostile>;
} {
  if (TABLE + calls.length * 48 > RAM_END - 0x1000) throw new Error(`${calls.length} calls do not fit`);
  const run = runHostile(longGuest(callAll(calls.length)), {
    prepare: ({ memory, p2m }) =>
      calls.forEach((call, i) =>
        call.forEach((value, k) =>
          memory.view.setBigUint64(p2m.ramAddress(TABLE + i * 48 + k * 8), BigInt.asUintN(64, BigInt(value)), true),
        ),
      ),
  });
  return {
    run,
    results: calls.map((_, i) =>
      BigInt.asIntN(64, (BigInt(run.word(TABLE + i * 48 + 44)) << 32n) | BigInt(run.word(TABLE + i * 48 + 40))),
    ),
  };
}

describe('hypercalls with wild arguments', () => {
  /** Operations of each; those that stop the vCPU are not among them. */
  const operations: [string, number, number[]][] = [
    ['memory_op', 12, [0, 1, 2, 3, 4, 6, 7, 9, 14, 15, 50]],
    ['multicall', 13, [0]],
    ['xen_version', 17, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['grant_table_op', 20, [0, 2, 6, 8, 10, 11]],
    ['vm_assist', 21, [0, 1, 2]],
    ['vcpu_op', 24, [0, 3, 4, 5, 6, 7, 8, 9, 10, 13]],
    ['event_channel_op', 32, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]],
    ['physdev_op', 33, [2, 13, 15, 21, 28]],
    ['hvm_op', 34, [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 23]],
    ["dm_op and the toolstack's", 41, [0, 1, 2]],
  ];
  it.each(operations)('%s: an answer each time, and the host and the guest live', (_name, number, ops) => {
    const calls = ops.flatMap((op) =>
      pointers.flatMap((pointer) =>
        fills.map(
          (fill) =>
            [
              number,
              number === 13 ? pointer : BigInt(op),
              number === 13 ? 3n : number === 24 ? 0n : pointer,
              pointer,
              fill,
              fill,
            ] as const,
        ),
      ),
    );
    const { results, run } = make(calls);
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(results.filter((result) => result < -133n)).toEqual([]);
    expect(new Set(results).size).toBeGreaterThan([21, 33, 41].includes(number) ? 0 : 1);
  });

  it('numbers there are not, and numbers of more than 32 bits', () => {
    const numbers = [
      0n,
      1n,
      11n,
      14n,
      16n,
      22n,
      25n,
      38n,
      43n,
      63n,
      64n,
      127n,
      0x7fff_ffffn,
      0xffff_ffffn,
      0x1_0000_0011n,
      0xffff_ffff_0000_0011n,
    ];
    const { results, run } = make(numbers.map((n) => [n as unknown as number, 0n, 0n, 0n, 0n, 0n] as const));
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(new Set(results)).toEqual(new Set([-38n]));
  });

  it('console_io of 2 GiB: what can be read is written, no more', () => {
    const { results, run } = make([
      [18, 0n, 0x7fff_ffffn, BigInt(RAM_END - 0x2000), 0n, 0n],
      [18, 0n, 0xffff_fffen, BigInt(STRUCT), 0n, 0n],
      [18, 0n, 0x7fff_ffffn, 0x70000000n, 0n, 0n],
    ]);
    expect(run.outcome).toBe('poweroff');
    expect(results).toEqual([-14n, -7n, -14n]);
    expect(run.console.length).toBe(0x2000 + 'alive\n'.length);
  });

  it("more extents than there are, of the largest order: memory is used up, and the host's own needs are not", () => {
    const extents = 0x400000;
    const guest = longGuest(`
      mov dword [${STRUCT}], ${extents}
      mov dword [${STRUCT + 4}], 0
      mov dword [${STRUCT + 8}], 0x8000
      mov dword [${STRUCT + 12}], 0
      mov dword [${STRUCT + 16}], 0
      mov dword [${STRUCT + 20}], 0
      mov qword [${STRUCT + 24}], 0x7ff0
      mov edi, ${extents}
      mov eax, 0x10000
      mov ecx, 0x8000
    fill:
      mov [rdi], rax
      inc eax
      add edi, 8
      dec ecx
      jne fill
      mov eax, 12
      mov edi, 6
      mov esi, ${STRUCT}
      vmcall
      mov [0x90000], rax
      mov dword [${STRUCT + 16}], 9
      mov eax, 12
      mov edi, 6
      mov esi, ${STRUCT}
      vmcall
      mov [0x90008], rax
      mov eax, 20
      mov edi, 6
      mov esi, ${STRUCT}
      mov edx, 1
      vmcall
      ${print('alive\n')}
      ${powerOff}
    `);
    const run = runHostile(guest);
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(run.machine.domain.pcpu.pages.freeFrames).toBe(0);
    expect(run.word(0x90000)).toBeGreaterThan(100);
    expect(run.word(0x90008)).toBe(0);
  });
});

/** memory_op with one extent. */
const oneExtent = (op: number, frame: number): string => `
  mov qword [${STRUCT}], ${STRUCT + 0x100}
  mov qword [${STRUCT + 8}], 1
  mov qword [${STRUCT + 16}], 0
  mov qword [${STRUCT + 24}], 0x7ff0
  mov qword [${STRUCT + 0x100}], ${frame}
  mov eax, 12
  mov edi, ${op}
  mov esi, ${STRUCT}
  vmcall
`;

describe('a guest and its own memory', () => {
  it('gives back all it has but what it stands on, and asks for it again', () => {
    const loop = (label: string, op: number): string => `
      mov ebx, 0x200
    ${label}:
      mov [${STRUCT + 0x100}], rbx
      mov eax, 12
      mov edi, ${op}
      mov esi, ${STRUCT}
      vmcall
      inc ebx
      cmp ebx, ${RAM_END >> 12}
      jne ${label}
    `;
    const run = runHostile(
      longGuest(`${oneExtent(1, 0xffff)}${loop('give', 1)}${loop('take', 6)}${loop('again', 1)}${print('alive\n')}${powerOff}`),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect([...Array(0x600).keys()].every((i) => run.machine.p2m.getMfn(gfn(0x200 + i)) === -1)).toBe(true);
  });

  it.each([
    ['page tables', LongGuest.pml4 >>> 12],
    ['IDT', LongGuest.idt >>> 12],
  ])('gives back its %s: it dies, alone', (_what, frame) => {
    const run = runHostile(longGuest(`${oneExtent(1, frame)}ud2\n${powerOff}`));
    expect(run.outcome).toBe('crash');
    expect(run.log).toMatch(/Triple fault[\s\S]*crashed on cpu#0/);
  });

  it('gives back its code: #GP for the next instruction', () => {
    const run = runHostile(longGuest(`${oneExtent(1, LongGuest.code >>> 12)}ud2\n${powerOff}`));
    expect(run.outcome).toBe('poweroff');
    expect(run.word(LongGuest.exceptionRecord)).toBe(13);
  });

  it('puts RAM where the NIC is: the page is RAM from then on, and the NIC is reached by its ports', () => {
    const run = runHostile(
      longGuest(`
      ${oneExtent(6, BAR >>> 12)}
      mov [0x90000], eax
      mov eax, ${BAR}
      mov dword [rax + 8], 0x13572468
      mov ebx, [rax + 8]
      mov [0x90008], ebx
      mov edx, 0xc008
      in eax, dx
      mov [0x90010], eax
      ${oneExtent(1, BAR >>> 12)}
      mov eax, ${BAR}
      mov ebx, [rax + 8]
      mov [0x90018], ebx
      ${powerOff}
    `),
    );
    expect(run.outcome).toBe('poweroff');
    expect([run.word(0x90000), run.word(0x90008), run.word(0x90010), run.word(0x90018)]).toEqual([1, 0x13572468, 0, 0]);
  });

  it("asks for every space and index there could be, the special pages and the ioreq server's among them: the ioreq pages never appear", () => {
    const frames = [...Array(24).keys()].map((i) => 0xff000 - 24 + i);
    const run = runHostile(
      longGuest(`
      mov ebx, 0
    spaces:
      mov qword [${STRUCT}], 0x7ff0
      mov [${STRUCT + 4}], ebx
      mov qword [${STRUCT + 16}], 0x400
      mov ebp, 0
    indexes:
      mov [${STRUCT + 8}], rbp
      mov eax, 12
      mov edi, 7
      mov esi, ${STRUCT}
      vmcall
      inc ebp
      cmp ebp, 80
      jne indexes
      inc ebx
      cmp ebx, 8
      jne spaces
      ${frames.map((frame) => `${oneExtent(1, frame)}${oneExtent(6, frame)}`).join('')}
      ${frames.map((frame) => `mov eax, ${frame * 4096}\nmov dword [rax], -1\nmov dword [rax + 28], -1\n`).join('')}
      mov eax, ${BAR}
      mov ecx, [rax]
      ${print('alive\n')}
      ${powerOff}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(ioreqFramesInP2m(run.machine)).toEqual([]);
  });

  it('registers vcpu_info and a runstate area, and takes the pages away: the hypervisor goes on writing to what is still held, or nowhere', () => {
    const run = runHostile(
      longGuest(`
      mov qword [${STRUCT}], 0x400
      mov qword [${STRUCT + 8}], 0
      mov eax, 24
      mov edi, 10
      mov esi, 0
      mov edx, ${STRUCT}
      vmcall
      mov [0x90000], rax
      mov qword [${STRUCT}], 0x401ff0
      mov eax, 24
      mov edi, 5
      mov esi, 0
      mov edx, ${STRUCT}
      vmcall
      mov [0x90008], rax
      ${oneExtent(1, 0x400)}
      ${oneExtent(1, 0x401)}
      ${oneExtent(1, 0x402)}
      mov dword [${STRUCT}], 0
      mov dword [${STRUCT + 4}], 0
      mov eax, 32
      mov edi, 7
      mov esi, ${STRUCT}
      vmcall
      mov ebx, 100
    again:
      mov eax, ${BAR}
      mov ecx, [rax]
      mov eax, 32
      mov edi, 4
      mov esi, ${STRUCT + 4}
      vmcall
      dec ebx
      jne again
      ${powerOff}
    `),
    );
    expect(run.outcome).toBe('poweroff');
    expect([run.word(0x90000), run.word(0x90008)]).toEqual([0, 0]);
  });
});

describe('event channels', () => {
  it('every port taken, sent to, unmasked, closed and reset, over and over', () => {
    const each = (label: string, op: number): string => `
      mov ebx, 0
    ${label}:
      mov [${STRUCT}], ebx
      mov eax, 32
      mov edi, ${op}
      mov esi, ${STRUCT}
      vmcall
      inc ebx
      cmp ebx, 5000
      jne ${label}
    `;
    const run = runHostile(
      longGuest(`
      mov ebx, 5000
    take:
      mov dword [${STRUCT}], 0
      mov eax, 32
      mov edi, 7
      mov esi, ${STRUCT}
      vmcall
      mov [0x90000], rax
      dec ebx
      jne take
      ${each('send', 4)}
      ${each('unmask', 9)}
      ${each('close', 3)}
      ${each('close_again', 3)}
      mov dword [${STRUCT}], 0x7ff0
      mov eax, 32
      mov edi, 10
      mov esi, ${STRUCT}
      vmcall
      mov eax, ${BAR}
      mov ecx, [rax]
      ${print('alive\n')}
      ${powerOff}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    // ENOSPC at the end.
    expect(run.word(0x90000) | 0).toBe(-28);
  });

  it('the pending and mask bits rewritten under the hypervisor, with the callback as a vector: a storm, and the guest gets on', () => {
    const run = runHostile(
      longGuest(
        `
      mov qword [${STRUCT}], 0x7ff0
      mov qword [${STRUCT + 8}], 0
      mov qword [${STRUCT + 16}], 0x400
      mov eax, 12
      mov edi, 7
      mov esi, ${STRUCT}
      vmcall
      mov dword [${STRUCT}], 0x7ff0
      mov dword [${STRUCT + 4}], 0
      mov dword [${STRUCT + 8}], 0x40
      mov dword [${STRUCT + 12}], 0x02000000
      mov eax, 34
      mov edi, 0
      mov esi, ${STRUCT}
      vmcall
      mov edi, 0x400000
      mov ecx, 0x400
      mov eax, -1
      cld
      rep stosd
      sti
    work:
      jmp work
    `,
        {
          interrupt: countInterrupts(500),
        },
      ),
      { untilNs: 50e6 },
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'storm\n']);
  });
});

describe('sched_op', () => {
  it.each([
    [0, 'poweroff'],
    [1, 'reboot'],
    [2, 'poweroff'],
    [3, 'crash'],
    [4, 'crash'],
    [5, 'reboot'],
  ] as const)('shutdown for reason %i ends as %s', (reason, outcome) => {
    const run = runHostile(longGuest(shutDown(reason)));
    expect(run.outcome).toBe(outcome);
    if (reason === 3) expect(run.log).toMatch(/reported a crash[\s\S]*RIP: [\s\S]*Code around RIP/);
  });

  it('poll of nothing, of what is not there, of too much, from where nothing is', () => {
    const poll = (ports: number, count: number, timeout: number): string => `
      mov qword [${STRUCT}], ${ports}
      mov dword [${STRUCT + 8}], ${count}
      mov qword [${STRUCT + 16}], ${timeout}
      mov eax, 29
      mov edi, 3
      mov esi, ${STRUCT}
      vmcall
      mov [0x90000], eax
    `;
    const run = runHostile(
      longGuest(`
      ${poll(0x70000000, 1, 0)}
      ${poll(STRUCT, -1, 0)}
      ${poll(STRUCT, 129, 0)}
      mov dword [${STRUCT + 0x100}], 0x7fffffff
      ${poll(STRUCT + 0x100, 1, 0)}
      ${poll(STRUCT + 0x100, 0, 1)}
      ${print('alive\n')}
      ${powerOff}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });
});
