/** Guests that turn the vCPU itself against the hypervisor: page tables, stacks, strings and timers at their limits. */
import { describe, expect, it } from 'vitest';
import type { Gfn } from '../../src/base/address.ts';
import { P2mType } from '../../src/hypervisor/mm/p2m.ts';
import {
  countInterrupts,
  idtBehind,
  lapic,
  lapicOn,
  lapicTimer,
  longGuest,
  LongGuest,
  LVTT_PERIODIC,
  plainGuest,
  powerOff,
  print,
} from '../plain-guest.ts';
import { BAR, type HostileRun, RAM_END, runHostile } from './machine.ts';

/** `code`: there is some to be read where it died. */
const dumped = (run: HostileRun, code = true): void => {
  expect(run.log).toMatch(/RIP: +[0-9a-f]{4}:\[<[0-9a-f]+>\]/);
  if (code) expect(run.log).toMatch(/Code around RIP:/);
};
const exception = (run: HostileRun) => ({
  vector: run.word(LongGuest.exceptionRecord),
  error: run.word(LongGuest.exceptionRecord + 8),
  cr2: run.word(LongGuest.exceptionRecord + 24),
});

describe('page tables', () => {
  const cr3 = (at: string): string => `mov rax, ${at}\nmov cr3, rax\n`;
  it.each([
    ['CR3 in a hole', '0x70000000'],
    ['CR3 at the NIC', String(BAR)],
    ['CR3 at the local APIC', '0xfee00000'],
    ['CR3 beyond the physical addresses there are', '0xffffff000'],
    ['CR3 above 4 GiB', '0x100000000'],
    ['CR3 at the end of RAM', String(RAM_END)],
  ])('%s: nothing can be fetched, not even a handler: a triple fault', (_name, at) => {
    const run = runHostile(longGuest(`${cr3(at)}\ncli\n${powerOff}`));
    expect(run.outcome).toBe('crash');
    expect(run.log).toMatch(/Triple fault/);
    dumped(run, false);
  });

  it.each([
    ['a page directory in a hole', LongGuest.pdpt + 8, 0x70000007],
    ['a page directory at the NIC', LongGuest.pdpt + 8, BAR + 7],
    ['a page directory at the local APIC', LongGuest.pdpt + 8, 0xfee00007],
    ['a page table in the VGA hole', LongGuest.pageDirectory + 0x1000, 0xa0007],
    ['a page table at the end of RAM', LongGuest.pageDirectory + 0x1000, RAM_END + 7],
  ])('%s: a page fault for what lies behind it, and the guest lives', (_name, entry, value) => {
    const run = runHostile(
      longGuest(`
      mov eax, ${value}
      mov [${entry}], rax
      mov rax, cr3
      mov cr3, rax
      mov rax, 0x40000000
      mov ebx, [rax]
      hlt
    `),
    );
    expect(run.outcome).toBe('poweroff');
    expect(exception(run)).toMatchObject({ vector: 14, cr2: 0x40000000 });
  });

  it('the IDT behind a page table at the NIC: the exception cannot be delivered, the domain dies of a triple fault', () => {
    const run = runHostile(longGuest(idtBehind(BAR)), { untilNs: 10e6 });
    expect(run.outcome).toBe('crash');
    expect(run.log).toMatch(/Triple fault/);
    dumped(run);
  });

  it('the IDT in device memory: a gate of zeros or ones is no gate, the domain dies', () => {
    for (const at of [BAR, 0xfee00000, 0x70000000, 0xb8000]) {
      const run = runHostile(
        longGuest(`
        mov word [0x80000], 0xfff
        mov eax, ${at}
        mov [0x80002], rax
        lidt [0x80000]
        ud2
      `),
        { untilNs: 10e6 },
      );
      expect(run.outcome).toBe('crash');
      dumped(run);
    }
  });

  it('tables that refer to themselves, on all levels: the walk ends', () => {
    const run = runHostile(
      longGuest(`
      mov eax, ${LongGuest.pml4 + 7}
      mov [${LongGuest.pml4 + 8}], rax
      mov rax, cr3
      mov cr3, rax
      mov rax, 0x8040201000
      mov rbx, [rax]
      mov [0x80000], rbx
      mov [rax + 0x800], rbx
      ${powerOff}
    `),
    );
    expect(run.outcome).toBe('poweroff');
    expect(run.word(0x80000) & ~0x60).toBe(LongGuest.pdpt | 7);
  });

  it('accessed bits in a read-only page: the walk cannot set them, which is a page fault and not a crash', () => {
    const run = runHostile(
      longGuest(`
      mov eax, 0x600007
      mov [${LongGuest.pdpt + 8}], rax
      mov rax, cr3
      mov cr3, rax
      mov rax, 0x40000000
      mov ebx, [rax]
      hlt
    `),
      {
        prepare: ({ p2m, memory }) => {
          const frame = p2m.getMfn(0x600 as Gfn);
          memory.u32[(frame * 4096) >>> 2] = 0x87;
          p2m.setEntry(0x600 as Gfn, frame, P2mType.ramRo);
        },
      },
    );
    expect(run.outcome).toBe('poweroff');
    expect(exception(run).vector).toBe(14);
  });

  it.each([
    ['paged out', P2mType.pagingOut],
    ['broken', P2mType.broken],
    ['of an unknown owner', P2mType.mapForeign],
  ])('code in a page that is %s: the domain dies with a dump', (_name, type) => {
    const run = runHostile(longGuest('mov eax, 0x600000\njmp rax\n'), {
      prepare: ({ p2m }) => void p2m.setEntry(0x600 as Gfn, p2m.getMfn(0x600 as Gfn), type as P2mType),
    });
    expect(run.outcome).toBe('crash');
    expect(run.log).toMatch(/EPT violation/);
    dumped(run);
  });

  it.each([
    ['in a hole', 0x70000000],
    ['at the NIC', BAR],
    ['at the local APIC', 0xfee00000],
    ['in the VGA hole', 0xa0000],
  ])('code %s: #GP, as for every fetch that cannot be emulated', (_name, at) => {
    const run = runHostile(longGuest(`mov eax, ${at}\njmp rax\n`));
    expect(run.outcome).toBe('poweroff');
    expect(exception(run)).toMatchObject({ vector: 13, error: 0 });
  });
});

describe('stacks', () => {
  it.each([
    ['in a hole', '0x70000000'],
    ['in the VGA hole', '0xa8000'],
    ['at the NIC', String(BAR + 0x80)],
    ['not canonical', '0x800000000000'],
  ])('%s: an exception is delivered there or is a triple fault, and the host goes on', (_name, at) => {
    const run = runHostile(longGuest(`mov rsp, ${at}\nud2\n`));
    expect(['crash', 'poweroff']).toContain(run.outcome);
    if (run.outcome === 'crash') dumped(run);
  });

  it('given back by decrease_reservation while it is in use', () => {
    const run = runHostile(
      longGuest(`
      mov esp, 0x601000
      mov qword [0x80000], 0x80100
      mov qword [0x80008], 1
      mov qword [0x80010], 0
      mov qword [0x80018], 0x7ff0
      mov qword [0x80100], 0x600
      mov eax, 12
      mov edi, 1
      mov esi, 0x80000
      vmcall
      push rax
      pop rbx
      mov [0x80200], ebx
      ud2
    `),
    );
    expect(run.machine.p2m.getMfn(0x600 as Gfn)).toBe(-1);
    // Where nobody is, a push vanishes and a pop gives ones: so do the exception's frame and what its handler takes.
    expect(run.word(0x80200)).toBe(0xffffffff);
    expect(['crash', 'poweroff']).toContain(run.outcome);
  });

  it('an interrupt stack table without end: #DF on a stack that is not there', () => {
    const run = runHostile(longGuest('mov esp, 0\nmov rax, 0x4000000000\nmov rsp, rax\npush rax\nhlt\n'));
    expect(run.outcome).toBe('crash');
    expect(run.log).toMatch(/Triple fault/);
    dumped(run);
  });
});

describe('string instructions over device memory', () => {
  const huge = 'mov rcx, 0x8000000000000000\n';
  it.each([
    ['rep movsb with RCX = 2^63 from the NIC to RAM', `${huge}mov esi, ${BAR}\nmov edi, 0x300000\nrep movsb\n`],
    ['rep movsb with RCX = 2^63 from RAM to the NIC', `${huge}mov esi, 0x300000\nmov edi, ${BAR}\nrep movsb\n`],
    ['rep movsq with RCX = 2^63 from the NIC to the NIC', `${huge}mov esi, ${BAR}\nmov edi, ${BAR + 0x40}\nrep movsq\n`],
    ['rep movsd with RCX = 2^63 from the local APIC to the HPET', `${huge}mov esi, 0xfee00000\nmov edi, 0xfed00000\nrep movsd\n`],
    ['rep stosq with RCX = 2^64 - 1 over the VGA hole', 'mov rcx, -1\nmov edi, 0xa0000\nrep stosq\n'],
    ['rep stosb with RCX = 2^63 downwards through the NIC', `${huge}mov edi, ${BAR + 0xff}\nstd\nrep stosb\n`],
    ['rep lodsb with RCX = 2^63', `${huge}mov esi, ${BAR}\nrep lodsb\n`],
    ['repne scasb with RCX = 2^63', `${huge}mov edi, ${BAR}\nmov al, 0x99\nrepne scasb\n`],
    ['repe cmpsb with RCX = 2^63', `${huge}mov esi, 0x70000000\nmov edi, 0x70000000\nrepe cmpsb\n`],
    ['rep insb with RCX = 2^63', `${huge}mov edx, 0xc000\nmov edi, 0x300000\nrep insb\n`],
    ['rep outsd with RCX = 2^63', `${huge}mov edx, 0xc020\nmov esi, 0x300000\nrep outsd\n`],
    ['rep insd with RCX = 2^63 into a hole', `${huge}mov edx, 0x5000\nmov edi, 0x70000000\nrep insd\n`],
    ['rep outsb with RCX = 2^63 from the NIC to the PIT', `${huge}mov edx, 0x40\nmov esi, ${BAR}\nrep outsb\n`],
  ])('%s: the time given to the run ends it', (_name, source) => {
    // What it writes over on its way up may stop it earlier: its own code, or the end of what is mapped.
    const run = runHostile(longGuest(`cld\n${source}\n${powerOff}`), { untilNs: 0.02e9 });
    expect(['timeout', 'poweroff', 'crash', 'halted']).toContain(run.outcome);
    if (run.outcome === 'crash') dumped(run);
  });

  it('interrupts come in between: a rep over device memory is no way to hold the vCPU', () => {
    const run = runHostile(
      longGuest(
        `
      mov dword [0x80000], 0
      ${lapicTimer(0x40, 0x10000)}
      sti
      cld
      mov rcx, 0x8000000000000000
      mov esi, ${BAR}
      mov edi, ${BAR}
      rep movsb
    `,
        {
          interrupt: `
        ${print('tick\n')}
        ${powerOff}
      `,
        },
      ),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'tick\n']);
  });
});

describe('accesses across the end of a page', () => {
  it('RAM first, then the NIC; the NIC first, then RAM: each side gets its bytes once', () => {
    // The page before the BAR and the one behind RAM's end, by page tables of 4 KiB at 0x40000000.
    const run = runHostile(
      longGuest(
        `
      mov eax, 0x600007
      mov [${LongGuest.pdpt + 8}], rax
      mov eax, 0x601007
      mov [0x600000], rax
      mov eax, 0x300007
      mov [0x601000], rax
      mov eax, ${BAR + 7}
      mov [0x601008], rax
      mov eax, 0x301007
      mov [0x601010], rax
      mov rax, cr3
      mov cr3, rax
      mov rax, 0x40000ffc
      mov rbx, 0x1122334455667788
      mov [rax], rbx
      mov rcx, [rax]
      mov [0x80000], rcx
      mov rax, 0x40001ffc
      mov [rax], rbx
      mov rcx, [rax]
      mov [0x80008], rcx
      lock
      ${powerOff}
    `.replace('lock\n', ''),
      ),
    );
    expect(run.outcome).toBe('poweroff');
    expect([run.word(0x300ffc), run.word(0x301000)]).toEqual([0x55667788, 0x11223344]);
    // MAC address registers are locked: what is read back is the chip's.
    expect(run.word(0x80000)).toBe(0x55667788);
    expect(run.word(0x8000c)).toBe(0x11223344);
  });
});

describe('an interrupt that comes with the answer to an access', () => {
  it("finds the access made: it is not made again behind the handler, nor taken for the handler's own", () => {
    const run = runHostile(
      longGuest(`
      ${lapicTimer(LVTT_PERIODIC | 0x40, 20000)}
      sti
      mov ebx, 5000
      mov eax, ${BAR + 0x20}
    again:
      mov [rax], ebx
      dec ebx
      jne again
      cli
      ${powerOff}
    `),
    );
    expect(run.outcome).toBe('poweroff');
    expect(run.word(LongGuest.interrupts)).toBeGreaterThan(100);
    expect(run.deviceModelLog.match(/handle_ioreq_write .*port=0xf0000020/g)).toHaveLength(5000);
  });
});

describe('timers at their limits', () => {
  const hpet = (offset: number, value: number): string => `mov eax, ${0xfed00000 + offset}\nmov dword [rax], ${value}\n`;
  const pit = (control: number, count: number): string =>
    `mov al, ${control}\nout 0x43, al\nmov al, ${count & 0xff}\nout 0x40, al\nmov al, ${count >> 8}\nout 0x40, al\n`;
  const pics =
    'mov al, 0x11\nout 0x20, al\nmov al, 0x20\nout 0x21, al\nmov al, 4\nout 0x21, al\nmov al, 1\nout 0x21, al\nmov al, 0xfe\nout 0x21, al\n';
  const ioapic = (pin: number, low: number): string =>
    `mov eax, 0xfec00000\nmov dword [rax], ${0x10 + pin * 2}\nmov dword [rax + 0x10], ${low}\n`;
  /** Ten interrupts, then off: the guest gets on between them. */
  const tenInterrupts = `
    sti
  wait_ten:
    hlt
    mov eax, [${LongGuest.interrupts}]
    cmp eax, 10
    jb wait_ten
    cli
    ${print('ten\n')}
    ${powerOff}
  `;
  it.each([
    ['local APIC, count 1, divisor 1, periodic', `${lapicTimer(LVTT_PERIODIC | 0x40, 1)}`],
    [
      'local APIC, count 1, divisor 1, periodic, divisor changed under way',
      `${lapicOn}${lapic('APIC_TDCR', 0)}${lapic('APIC_LVTT', LVTT_PERIODIC | 0x40)}${lapic('APIC_TMICT', 1)}${lapic('APIC_TDCR', 0xb)}`,
    ],
    ['PIT, count 1, mode 2', `${pics}${pit(0x34, 1)}`],
    ['PIT, count 1, mode 3', `${pics}${pit(0x36, 1)}`],
    ['PIT, BCD digits that are none, mode 2', `${pics}${pit(0x35, 0xffff)}`],
    [
      'HPET, period 1, 32 bits',
      `${lapicOn}${ioapic(20, 0x40)}${hpet(0x100, 0x294c | (20 << 9))}${hpet(0x108, 1)}${hpet(0x108, 1)}${hpet(0x10, 1)}`,
    ],
    [
      'HPET, comparator all ones, period 0',
      `${lapicOn}${ioapic(20, 0x40)}${hpet(0x100, 0x4c | (20 << 9))}${hpet(0x108, -1)}${hpet(0x10c, -1)}${hpet(0x108, 0)}${hpet(0x10, 1)}`,
    ],
    [
      'RTC, fastest rate',
      'mov al, 0x0a\nout 0x70, al\nmov al, 0x21\nout 0x71, al\nmov al, 0x0b\nout 0x70, al\nmov al, 0x42\nout 0x71, al\n',
    ],
  ])('%s: the host is not held, the guest gets on or waits', (_name, source) => {
    const run = runHostile(longGuest(`${source}${tenInterrupts}`), { untilNs: 0.1e9 });
    expect(['poweroff', 'timeout', 'halted']).toContain(run.outcome);
  });

  it.each([
    ['local APIC', `${lapicTimer(LVTT_PERIODIC | 0x40, 1)}`],
    ['PIT', `${pics}${pit(0x34, 1)}`],
  ])('%s with count 1: periods of 100 µs at the least, as Xen has them', (_name, source) => {
    const run = runHostile(longGuest(`${source}${tenInterrupts}`));
    expect([run.outcome, run.console]).toEqual(['poweroff', 'ten\n']);
    expect(run.machine.clock.nowNs()).toBeGreaterThan(0.9e6);
  });

  it('an interrupt storm: a level line nobody takes back, with every end of interrupt', () => {
    // The NIC's line: IntrMask all, an interrupt pending for ever.
    const run = runHostile(
      longGuest(
        `
      mov edx, 0xcf8
      mov eax, 0x80001804
      out dx, eax
      mov edx, 0xcfc
      mov eax, 7
      out dx, eax
      ${lapicOn}
      ${ioapic(28, 0xa040)}
      mov eax, ${BAR}
      mov word [rax + 0x3c], 0xffff
      mov dword [rax + 0x54], 100
      mov dword [rax + 0x48], 0
      sti
    work:
      jmp work
    `,
        {
          interrupt: countInterrupts(1000, lapic('APIC_EOI', 0)),
        },
      ),
      { untilNs: 50e6 },
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'storm\n']);
  });

  it('self-IPIs and errors whose delivery is an error, without end (XSA-462)', () => {
    const run = runHostile(
      longGuest(`
      ${lapicOn}
      ${lapic('APIC_LVTERR', 0)}
      mov ebx, 2000
    again:
      ${lapic('APIC_ICR', 0x40005)}
      ${lapic('APIC_ESR', 0)}
      ${lapic('APIC_ICR', 0x40540)}
      ${lapic('APIC_ICR', 0x40640)}
      dec ebx
      jne again
      ${print('done\n')}
      ${powerOff}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'done\n']);
  });
});

describe('a triple fault', () => {
  it('real mode, protected mode and long mode: the domain dies with a dump of what stood there', () => {
    const noIdt = 'mov dword [0x80000], 0\nmov dword [0x80004], 0\nlidt [0x80000]\nud2\n';
    for (const guest of [plainGuest(noIdt), longGuest(noIdt.replace('lidt', 'mov dword [0x80008], 0\nlidt'))]) {
      const run = runHostile(guest);
      expect(run.outcome).toBe('crash');
      expect(run.log).toMatch(/Triple fault/);
      dumped(run);
    }
  });
});

describe('chips inside the hypervisor', () => {
  it('written and read at random, all registers and widths, interrupts coming in between: the guest lives or dies, the host goes on', () => {
    for (const seed of [1, 77]) {
      const run = runHostile(
        longGuest(
          `
        mov dword [0x80000], ${seed}
        mov dword [0x80100], 0xfee00000
        mov dword [0x80104], 0xfec00000
        mov dword [0x80108], 0xfed00000
        mov dword [0x8010c], 0xfee00080
        mov ebp, 6000
      again:
        call random
        mov ecx, eax
        shr ecx, 8
        and ecx, 3
        mov ebx, [rcx*4 + 0x80100]
        shr eax, 12
        and eax, 0x3f8
        add ebx, eax
        call random
        mov [rbx], eax
        mov ecx, [rbx]
        mov [rbx], al
        mov cx, [rbx]
        mov rcx, [rbx]
        mov [rbx], rcx
        call random
        mov ebx, eax
        shr ebx, 10
        and ebx, 15
        movzx edx, byte [rbx + 0x80200]
        out dx, al
        in al, dx
        out dx, ax
        in eax, dx
        test ebp, 63
        jne next
        sti
        pause
        cli
      next:
        dec ebp
        jne again
        ${print('alive\n')}
        ${powerOff}
      random:
        mov eax, [0x80000]
        mov ecx, 1103515245
        imul eax, ecx
        add eax, 12345
        mov [0x80000], eax
        shr eax, 1
        ret
      `,
          {
            // An NMI or a fault that a written register brought: on with what comes next.
            exception: 'inc dword [0x80010]\nadd rsp, 16\niretq\n',
          },
        ),
        {
          untilNs: 0.2e9,
          prepare: ({ memory, p2m }) =>
            memory.u8.set(
              [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x20, 0xa0, 0x40, 0x43, 0x71],
              p2m.ramAddress(0x80200),
            ),
        },
      );
      expect(['poweroff', 'crash', 'timeout', 'halted']).toContain(run.outcome);
      if (run.outcome === 'poweroff') expect(run.console).toBe('alive\n');
      // What it can bring about again and again does not fill the log.
      expect(run.log.length).toBeLessThan(10_000);
    }
  });
});
